// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// askFor is how long a cluster may take to say what is loaded.
const askFor = 10 * time.Second

// loadedPolicies is what one GitSync or ChangePolicy has loaded.
type loadedPolicies struct {
	// Kind is GitSync for what comes from a repository, else ChangePolicy.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Ready     string `json:"ready"`
	Message   string `json:"message,omitempty"`
	// Generation of the set, and the one that its status tells of.
	Generation int64                 `json:"generation"`
	Observed   int64                 `json:"observedGeneration"`
	Library    []string              `json:"library,omitempty"`
	Rules      []v1alpha1.RuleStatus `json:"rules,omitempty"`
}

func (k *kube) client() (client.Client, error) {
	config, _, err := k.config()
	if err != nil {
		return nil, err
	}
	config.Timeout = askFor
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register types: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return c, nil
}

// loaded asks the cluster what is loaded. What comes from a repository, from
// the library or from the declarative form is a ChangePolicy, too.
func (l *list) loaded(ctx context.Context) ([]loadedPolicies, error) {
	c, err := l.kube.client()
	if err != nil {
		return nil, err
	}
	var all v1alpha1.ChangePolicyList
	if err := c.List(ctx, &all, client.InNamespace(l.namespace)); err != nil {
		return nil, fmt.Errorf("list change policies: %w", err)
	}
	out := make([]loadedPolicies, 0, len(all.Items))
	for _, cp := range all.Items {
		p := loadedPolicies{
			Kind: "ChangePolicy", Namespace: cp.Namespace, Name: cp.Name, Ready: string(metav1.ConditionUnknown),
			Generation: cp.Generation, Observed: cp.Status.ObservedGeneration, Library: cp.Spec.Library, Rules: cp.Status.Rules,
		}
		if sync, ok := v1alpha1.GitSyncOfPolicy(cp.Name); ok {
			p.Kind, p.Name = "GitSync", sync
		}
		if ready := meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			p.Ready, p.Message = string(ready.Status), ready.Message
		}
		out = append(out, p)
	}
	return out, nil
}

func (l *list) clusterGitSyncs(ctx context.Context) ([]v1alpha1.GitSync, error) {
	c, err := l.kube.client()
	if err != nil {
		return nil, err
	}
	var all v1alpha1.GitSyncList
	if err := c.List(ctx, &all, client.InNamespace(l.namespace)); err != nil {
		return nil, fmt.Errorf("list git syncs: %w", err)
	}
	return all.Items, nil
}

func (p loadedPolicies) write(w io.Writer) {
	fmt.Fprintf(w, "%s %s/%s   ready: %s   generation: %d", p.Kind, p.Namespace, p.Name, p.Ready, p.Generation)
	if p.Observed != p.Generation {
		fmt.Fprintf(w, " (loaded: %d)", p.Observed)
	}
	if len(p.Library) > 0 {
		fmt.Fprintf(w, "   library: %s", strings.Join(p.Library, ", "))
	}
	fmt.Fprintln(w)
	if p.Ready != string(metav1.ConditionTrue) && p.Message != "" {
		fmt.Fprintln(w, "  "+strings.ReplaceAll(p.Message, "\n", "\n  "))
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, r := range p.Rules {
		fmt.Fprintf(t, "  %s\t%s\n", r.Name, r.Title)
	}
	// It ends in memory.
	_ = t.Flush()
}
