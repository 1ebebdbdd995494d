// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// Flags are kubectl's, as far as they concern these commands.
type Flags struct {
	Kubeconfig, Context, Cluster, User string
	Namespace, As                      string
	AsGroups                           []string
	Timeout                            time.Duration
	// System is the namespace in which Mainstay runs.
	System string
	// Output is json, or empty for people.
	Output string
}

// Add gives the flags to a command.
func (f *Flags) Add(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&f.Kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; kubectl's own where it is empty")
	p.StringVar(&f.Context, "context", "", "`NAME` of the kubeconfig's context to use")
	p.StringVar(&f.Cluster, "cluster", "", "`NAME` of the kubeconfig's cluster to use")
	p.StringVar(&f.User, "user", "", "`NAME` of the kubeconfig's user to use")
	p.StringVarP(&f.Namespace, "namespace", "n", "", "`NAMESPACE` of the GitSync; without it Mainstay's own, then the context's")
	p.StringVar(&f.As, "as", "", "`USER` to impersonate")
	p.StringArrayVar(&f.AsGroups, "as-group", nil, "`GROUP` to impersonate; may be given several times")
	p.DurationVar(&f.Timeout, "request-timeout", 30*time.Second, "how long one request may take")
	p.StringVar(&f.System, "mainstay-namespace", "mainstay-system", "`NAMESPACE` in which Mainstay runs")
	p.StringVarP(&f.Output, "output", "o", "", "json, or empty for people")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// Session is one use of the cluster.
type Session struct {
	Client client.Client
	Config *rest.Config
	Flags  *Flags
	// Current is the namespace of the kubeconfig's context.
	Current string
	// Out is for what was asked for, Progress for everything else.
	Out, Progress io.Writer
}

// CheckOutput refuses an unknown format.
func (f *Flags) CheckOutput() error {
	if f.Output != "" && f.Output != "json" {
		return Unclear(fmt.Errorf("-o %s is unknown: use json, or leave it out", f.Output))
	}
	return nil
}

// Open reaches the cluster. Its errors have the exit status 2.
func (f *Flags) Open(cmd *cobra.Command) (*Session, error) {
	if err := f.CheckOutput(); err != nil {
		return nil, err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: f.Context}
	overrides.Context.Cluster, overrides.Context.AuthInfo = f.Cluster, f.User
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	restConfig, err := config.ClientConfig()
	if err != nil {
		return nil, Unclear(fmt.Errorf("find the cluster: %w", err))
	}
	restConfig.Timeout, restConfig.QPS = f.Timeout, -1
	restConfig.Impersonate = rest.ImpersonationConfig{UserName: f.As, Groups: f.AsGroups}
	current, _, err := config.Namespace()
	if err != nil {
		return nil, Unclear(fmt.Errorf("read the kubeconfig: %w", err))
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, Unclear(fmt.Errorf("register types: %w", err))
	}
	c, err := client.New(restConfig, client.Options{Scheme: scheme})
	if err != nil {
		return nil, Unclear(fmt.Errorf("reach the cluster: %w", err))
	}
	return &Session{Client: c, Config: restConfig, Flags: f, Current: current, Out: cmd.OutOrStdout(), Progress: cmd.ErrOrStderr()}, nil
}

// JSON tells that the output is for programs.
func (s *Session) JSON() bool { return s.Flags.Output == "json" }

// Encode prints a value as indented JSON.
func (s *Session) Encode(value any) error { return Encode(s.Out, value) }

// Encode prints a value as indented JSON.
func Encode(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

// List returns the GitSyncs of the namespace that was given, else of all
// namespaces or, for those who may not list them all, of Mainstay's own and the
// context's. Where nothing may be read, it is an error.
func (s *Session) List(ctx context.Context) ([]v1alpha1.GitSync, error) {
	namespaces := []string{s.Flags.Namespace}
	if s.Flags.Namespace == "" {
		var list v1alpha1.GitSyncList
		err := s.Client.List(ctx, &list)
		if !apierrors.IsForbidden(err) {
			return list.Items, missing(err)
		}
		namespaces = []string{s.Flags.System, s.Current}
	}
	var all []v1alpha1.GitSync
	var failed error
	read := false
	for i, namespace := range namespaces {
		if i > 0 && namespace == namespaces[0] {
			continue
		}
		var list v1alpha1.GitSyncList
		if err := s.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		read = true
		all = append(all, list.Items...)
	}
	if !read {
		return nil, missing(failed)
	}
	return all, nil
}

// missing says what to do where the kind is not installed.
func missing(err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("list GitSyncs: %w: is Mainstay installed here? helm install it, or try mainstay sandbox up", err)
	}
	return err
}

// Find returns a GitSync by its name or by namespace/name. Without a name it is
// the only one that there is.
func (s *Session) Find(ctx context.Context, name string) (*v1alpha1.GitSync, error) {
	if name == "" {
		return s.only(ctx)
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "gitsync/"), "gitsyncs/")
	namespaces := []string{s.Flags.System, s.Current}
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		namespaces, name = []string{namespace}, rest
	} else if s.Flags.Namespace != "" {
		namespaces = []string{s.Flags.Namespace}
	}
	var failed error
	for _, namespace := range namespaces {
		gs := new(v1alpha1.GitSync)
		err := s.Client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, gs)
		if err == nil {
			return gs, nil
		}
		if !apierrors.IsNotFound(err) {
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, Answer("there is no GitSync %s in namespace %s%s", name, strings.Join(namespaces, " or "), s.others(ctx))
}

// others names the GitSyncs that there are.
func (s *Session) others(ctx context.Context) string {
	all, err := s.List(ctx)
	if err != nil || len(all) == 0 {
		return ""
	}
	names := make([]string, 0, len(all))
	for _, gs := range all {
		names = append(names, gs.Namespace+"/"+gs.Name)
	}
	return "; there are " + strings.Join(names[:min(len(names), 10)], ", ")
}

func (s *Session) only(ctx context.Context) (*v1alpha1.GitSync, error) {
	all, err := s.List(ctx)
	switch {
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, Answer("there is no GitSync")
	case len(all) > 1:
		return nil, Unclear(fmt.Errorf("say which GitSync is meant%s", s.others(ctx)))
	}
	return &all[0], nil
}

// Names completes the names of GitSyncs.
func (f *Flags) Names(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := f.Open(cmd)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := s.List(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, 0, len(all))
	for _, gs := range all {
		if gs.Namespace == s.Flags.System || gs.Namespace == s.Flags.Namespace || gs.Namespace == s.Current {
			names = append(names, gs.Name)
		} else {
			names = append(names, gs.Namespace+"/"+gs.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
