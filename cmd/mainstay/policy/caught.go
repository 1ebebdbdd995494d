// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/mainstay-gitops/mainstay/policy"
)

// caught runs a command against the cluster through a trap that lets reads pass
// and keeps every write, and makes an input of each write.
func (e *eval) caught(ctx context.Context, engine *policy.Engine, program *policy.Program, command []string) ([][]byte, []string, error) {
	config, namespace, err := e.kube.config()
	if err != nil {
		return nil, nil, err
	}
	if err := fetchData(ctx, config, engine, program); err != nil {
		return nil, nil, err
	}
	if e.as != "" {
		config.Impersonate = rest.ImpersonationConfig{UserName: e.as, Groups: e.groups}
	}
	user, err := whoAmI(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	t, err := newTrap(config, user)
	if err != nil {
		return nil, nil, err
	}
	if err := t.run(ctx, namespace, command); err != nil {
		return nil, nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var inputs [][]byte
	assumed := t.assumed
	for _, a := range t.attempts {
		input, more, err := a.input(e, engine)
		if err != nil {
			return nil, nil, err
		}
		inputs = append(inputs, input)
		for _, m := range more {
			if !strings.Contains(strings.Join(assumed, "\n"), m) {
				assumed = append(assumed, m)
			}
		}
	}
	if len(inputs) == 0 {
		hint := ""
		if e.as != "" && len(e.groups) == 0 && strings.Contains(t.said, "forbidden") {
			hint = fmt.Sprintf(" (--as %s stands for the user without any group: name them with --as-group, or use the user's own --context)", e.as)
		}
		return nil, nil, fmt.Errorf("%s would write nothing: it said: %s%s", strings.Join(command, " "), t.said, hint)
	}
	return inputs, assumed, nil
}

// whoAmI is the user as the API server knows it.
func whoAmI(ctx context.Context, config *rest.Config) (*policy.User, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("ask the cluster who asks: %w", err)
	}
	info := review.Status.UserInfo
	u := &policy.User{Username: info.Username, UID: info.UID, Groups: info.Groups, Extra: map[string][]string{}}
	for key, values := range info.Extra {
		u.Extra[key] = values
	}
	return u, nil
}

// fetchData lists the kinds that policies read.
func fetchData(ctx context.Context, config *rest.Config, engine *policy.Engine, program *policy.Program) error {
	needs := append(engine.Needs(), program.Needs()...)
	if len(needs) == 0 {
		return nil
	}
	mapper, err := newMapper(config)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("reach the cluster: %w", err)
	}
	for _, gk := range needs {
		mapping, err := mapper.RESTMapping(gk)
		if err != nil {
			continue // what is not installed has no objects
		}
		list, err := client.Resource(mapping.Resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list %s, which policies read: %w", mapping.Resource.Resource, err)
		}
		for _, o := range list.Items {
			engine.SetObject(gk.Group, gk.Kind, o.GetNamespace(), o.GetName(), o.Object)
		}
	}
	return nil
}

// run starts the command with a kubeconfig that leads to the trap, and waits
// for it. What it says and how it ends does not matter: each of its writes was
// answered with a refusal.
func (t *trap) run(ctx context.Context, namespace string, command []string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	secret := "/" + rand.Text()
	server := &http.Server{Handler: http.StripPrefix(secret, t), ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) //nolint:errcheck // it ends with Close below
	defer server.Close()      //nolint:errcheck // nothing is left to be served
	dir, err := os.MkdirTemp("", "mainstay-eval-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "kubeconfig")
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["caught"] = &clientcmdapi.Cluster{Server: "http://" + listener.Addr().String() + secret}
	kubeconfig.AuthInfos["caught"] = clientcmdapi.NewAuthInfo()
	kubeconfig.Contexts["caught"] = &clientcmdapi.Context{Cluster: "caught", AuthInfo: "caught", Namespace: namespace}
	kubeconfig.CurrentContext = "caught"
	if err := clientcmd.WriteToFile(*kubeconfig, file); err != nil {
		return fmt.Errorf("write a kubeconfig: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limited, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+file)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || limited.Err() != nil {
		return fmt.Errorf("run %s: %w", command[0], errors.Join(err, limited.Err()))
	}
	t.said = strings.TrimSpace(string(out))
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// refuse answers a write that was caught.
func refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	// The client may be gone.
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden, Message: "caught by mainstay policy eval: nothing was written",
	})
}
