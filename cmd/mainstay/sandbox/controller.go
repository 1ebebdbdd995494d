// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
)

const (
	controllerName = "controller"
	// stopGrace is the time that the controller has to end by itself.
	stopGrace = 5 * time.Second
	// tokenLife is how long the controller's token is good for.
	tokenLife = 365 * 24 * time.Hour
)

func controllerRecord(dir string) string { return filepath.Join(dir, "run", controllerName+".json") }

func controllerLog(dir string) string { return filepath.Join(dir, "logs", controllerName+".log") }

func controllerConfig(dir string) string { return filepath.Join(dir, "config.yaml") }

func controllerKubeconfig(dir string) string { return filepath.Join(dir, "controller.kubeconfig") }

func controllerCommand(dir string, program []string) []string {
	return append(slices.Clone(program), "controller",
		"--config", controllerConfig(dir), "--kubeconfig", controllerKubeconfig(dir))
}

func findController(dir string) (*process.Process, []string, bool, error) {
	return process.Find(controllerName, controllerRecord(dir), controllerLog(dir))
}

// runningController returns the controller if the one that runs is the one
// that would be started now. Any other is stopped: another program or one that
// was built again, or one that knows the API server by an old address.
func runningController(ctx context.Context, s *State, opts Options, server string) (*process.Process, bool, error) {
	p, command, running, err := findController(s.Dir)
	if err != nil || !running {
		return nil, false, err
	}
	if slices.Equal(command, controllerCommand(s.Dir, opts.Controller)) &&
		!newerThan(opts.Controller[0], controllerRecord(s.Dir)) && knows(controllerKubeconfig(s.Dir), server) {
		return p, true, nil
	}
	fmt.Fprintln(opts.Progress, "Restarting the controller: the program or the API server's address is another one.")
	return nil, false, p.Stop(ctx, stopGrace)
}

func newerThan(program, record string) bool {
	a, errA := os.Stat(program)
	b, errB := os.Stat(record)
	return errA == nil && errB == nil && a.ModTime().After(b.ModTime())
}

func knows(kubeconfig, server string) bool {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	return err == nil && config.Host == server
}

// startController starts the controller under the chart's account.
func startController(ctx context.Context, s *State, cluster *controlplane.Cluster, opts Options) (*process.Process, error) {
	if err := s.choosePorts(); err != nil {
		return nil, err
	}
	if err := writeControllerConfig(s); err != nil {
		return nil, fmt.Errorf("configure the controller: %w", err)
	}
	token, err := controllerToken(ctx, s, cluster.RESTConfig(controlplane.Admin))
	if err != nil {
		return nil, err
	}
	config, err := cluster.Kubeconfig(map[string]string{accountName: token})
	if err != nil {
		return nil, err
	}
	raw, err := clientcmd.Write(*config)
	if err != nil {
		return nil, err
	}
	if err := writeFile(controllerKubeconfig(s.Dir), raw); err != nil {
		return nil, err
	}
	return process.Start(process.Spec{
		Name:    controllerName,
		Command: controllerCommand(s.Dir, opts.Controller),
		Log:     controllerLog(s.Dir),
		Record:  controllerRecord(s.Dir),
	})
}

// choosePorts keeps the controller's ports where they are free.
func (s *State) choosePorts() error {
	p := &s.Ports
	for _, port := range []*int{&p.Webhook, &p.Metrics, &p.Health, &p.Decisions} {
		chosen, err := controlplane.FreePort(*port, p.Webhook, p.Metrics, p.Health, p.Decisions)
		if err != nil {
			return err
		}
		*port = chosen
	}
	return s.save()
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// MetricsURL returns where the controller's metrics are.
func (s *State) MetricsURL() string {
	return (&url.URL{Scheme: "http", Host: loopback(s.Ports.Metrics), Path: "/metrics"}).String()
}

// ControllerLog returns the file name of the controller's log.
func (s *State) ControllerLog() string { return controllerLog(s.Dir) }

// AuditLog returns the file name of the API server's audit log.
func (s *State) AuditLog() string { return controlplane.AuditLog(s.Dir) }

func writeControllerConfig(s *State) error {
	raw, err := yaml.Marshal(map[string]any{
		"apiVersion":  "config.mainstay.dev/v1alpha1",
		"kind":        "MainstayConfig",
		"clusterName": "sandbox",
		"namespace":   namespace,
		"webhook": map[string]any{
			"bindAddress": loopback(s.Ports.Webhook),
			"url":         "https://" + loopback(s.Ports.Webhook),
			// There is no other replica that a request could go to meanwhile.
			"shutdownDelay": "0s",
		},
		"metrics":        map[string]any{"bindAddress": loopback(s.Ports.Metrics)},
		"health":         map[string]any{"bindAddress": loopback(s.Ports.Health)},
		"decisions":      map[string]any{"bindAddress": loopback(s.Ports.Decisions), "url": "https://" + loopback(s.Ports.Decisions)},
		"leaderElection": map[string]any{"enabled": false},
		// Whoever plays here is alone, and does not wait for half an hour.
		"breakGlass": map[string]any{"emergencyGroups": []string{"developers"}, "afterOutage": "15s"},
		// All that is on this machine is theirs.
		"sync": map[string]any{"cacheDir": filepath.Join(s.Dir, "cache"), "tenantFileSources": true},
	})
	if err != nil {
		return err
	}
	return writeFile(controllerConfig(s.Dir), raw)
}

// controllerToken returns the token of the last start if the API server still
// knows it, and asks for one only where there is none: while no controller
// runs, a webhook configuration that fails closed refuses new ones.
func controllerToken(ctx context.Context, s *State, admin *rest.Config) (string, error) {
	if config, err := clientcmd.LoadFromFile(controllerKubeconfig(s.Dir)); err == nil {
		if user := config.AuthInfos[accountName]; user != nil && known(ctx, admin, user.Token) {
			return user.Token, nil
		}
	}
	return requestToken(ctx, admin)
}

// known tells whether a token is the controller's.
func known(ctx context.Context, admin *rest.Config, token string) bool {
	if token == "" {
		return false
	}
	config := rest.AnonymousClientConfig(admin)
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return false
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	return err == nil && review.Status.UserInfo.Username == "system:serviceaccount:"+namespace+":"+accountName
}

func requestToken(ctx context.Context, config *rest.Config) (string, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	seconds := int64(tokenLife / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, accountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token for the controller: %w", err)
	}
	return answer.Status.Token, nil
}
