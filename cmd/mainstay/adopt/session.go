// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// flags are those that both commands have.
type flags struct {
	kubeconfig, context, namespace, system, output string
}

func (f *flags) add(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; kubectl's own where it is empty")
	p.StringVar(&f.context, "context", "", "`NAME` of the kubeconfig's context to use")
	p.StringVarP(&f.namespace, "namespace", "n", "", "`NAMESPACE` of the GitSync; Mainstay's own, then the context's, where it is not given")
	p.StringVar(&f.system, "mainstay-namespace", "mainstay-system", "`NAMESPACE` in which Mainstay runs")
	p.StringVarP(&f.output, "output", "o", "", "json, or empty for people")
}

// session is one use of the cluster.
type session struct {
	client client.Client
	flags  *flags
	// current is the namespace of the kubeconfig's context.
	current       string
	out, progress io.Writer
}

func (f *flags) open(cmd *cobra.Command) (*session, error) {
	if f.output != "" && f.output != "json" {
		return nil, fmt.Errorf("-o %s is unknown: use json, or leave it out", f.output)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.context})
	restConfig, err := config.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	current, _, err := config.Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register types: %w", err)
	}
	c, err := client.New(restConfig, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &session{client: c, flags: f, current: current, out: cmd.OutOrStdout(), progress: cmd.ErrOrStderr()}, nil
}

// find looks where the GitSync most likely is.
func (s *session) find(ctx context.Context, name string) (*v1alpha1.GitSync, error) {
	namespaces := []string{s.flags.system, s.current}
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		namespaces, name = []string{namespace}, rest
	} else if s.flags.namespace != "" {
		namespaces = []string{s.flags.namespace}
	}
	for _, namespace := range namespaces {
		gs := new(v1alpha1.GitSync)
		err := s.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, gs)
		if err == nil {
			return gs, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	return nil, answer{fmt.Errorf("there is no gitsync %s in %s: give -n", name, strings.Join(namespaces, " or "))}
}

// complete offers the names of GitSyncs to a shell.
func (f *flags) complete(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := f.open(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	namespace := f.namespace
	if namespace == "" {
		namespace = f.system
	}
	var list v1alpha1.GitSyncList
	if err := s.client.List(cmd.Context(), &list, client.InNamespace(namespace)); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, len(list.Items))
	for i := range list.Items {
		names[i] = list.Items[i].Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// Result is what -o json prints.
type Result struct {
	// Namespace and Name of the GitSync.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Pending tells that objects wait to be taken over, Released that the
	// GitSync has let its objects go and is gone.
	Pending  bool `json:"pending"`
	Released bool `json:"released"`
	// Commit that was looked at last.
	Commit string `json:"commit,omitempty"`
	// Message says the same to people.
	Message string `json:"message"`
}

// print writes a result, as JSON or its message alone.
func (s *session) print(r Result) error {
	if s.flags.output == "json" {
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprintln(s.out, r.Message)
	return err
}
