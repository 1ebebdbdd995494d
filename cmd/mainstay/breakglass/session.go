// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package breakglass

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// flags are those that all commands have.
type flags struct {
	kubeconfig, context, namespace, system, output string
}

// session is one use of the cluster.
type session struct {
	client client.Client
	config *rest.Config
	flags  *flags
	// current is the namespace of the kubeconfig's context.
	current       string
	out, progress io.Writer
}

func (f *flags) open(cmd *cobra.Command) (*session, error) {
	shared := &cli.Flags{Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace, System: f.system, Output: f.output}
	s, err := shared.Open(cmd)
	if err != nil {
		return nil, err
	}
	return &session{client: s.Client, config: s.Config, flags: f, current: s.Current, out: s.Out, progress: s.Progress}, nil
}

// me is the name that the API server knows the user by.
func (s *session) me(ctx context.Context) (string, error) {
	review := new(authenticationv1.SelfSubjectReview)
	if err := s.client.Create(ctx, review); err != nil {
		return "", fmt.Errorf("ask who you are: %w", err)
	}
	return review.Status.UserInfo.Username, nil
}

// home is the namespace for a new request: the one that was given, else
// Mainstay's own where the user may write there, else the context's.
func (s *session) home(ctx context.Context) (string, error) {
	if s.flags.namespace != "" {
		return s.flags.namespace, nil
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "create", Group: v1alpha1.GroupVersion.Group, Resource: "breakglasses", Namespace: s.flags.system,
		},
	}}
	if err := s.client.Create(ctx, review); err != nil {
		return "", fmt.Errorf("ask what you may do: %w", err)
	}
	if review.Status.Allowed {
		return s.flags.system, nil
	}
	return s.current, nil
}

// names offers the names of BreakGlasses to a shell.
func (f *flags) names(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	s, err := f.open(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var list v1alpha1.BreakGlassList
	if err := s.client.List(cmd.Context(), &list, client.InNamespace(f.namespace)); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, bg := range list.Items {
		out = append(out, bg.Name+"\t"+bg.Status.Phase+" "+plain(bg.Spec.Reason))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// find looks where the BreakGlass most likely is.
func (s *session) find(ctx context.Context, name string) (*v1alpha1.BreakGlass, error) {
	namespaces := []string{s.flags.system, s.current}
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		namespaces, name = []string{namespace}, rest
	} else if s.flags.namespace != "" {
		namespaces = []string{s.flags.namespace}
	}
	var failed error
	for _, namespace := range namespaces {
		bg := new(v1alpha1.BreakGlass)
		err := s.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, bg)
		switch {
		case err == nil:
			return bg, nil
		case !apierrors.IsNotFound(err) && failed == nil:
			failed = err
		}
	}
	if len(namespaces) == 1 {
		if failed != nil {
			return nil, failed
		}
		return nil, cli.Answer("there is no breakglass %s in namespace %s", name, namespaces[0])
	}
	var list v1alpha1.BreakGlassList
	byName := client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)}
	if err := s.client.List(ctx, &list, byName); err == nil {
		switch len(list.Items) {
		case 0:
			return nil, cli.Answer("there is no breakglass %s%s", name, s.similar(ctx, name))
		case 1:
			return &list.Items[0], nil
		}
		return nil, cli.Answer("there is a breakglass %s in %d namespaces: give -n", name, len(list.Items))
	}
	if failed != nil {
		return nil, failed
	}
	return nil, cli.Answer("there is no breakglass %s in %s: give -n", name, strings.Join(namespaces, " and "))
}

// similar asks whether one of the BreakGlasses was meant whose names have what was
// typed in them; it is empty where there is none, or too many.
func (s *session) similar(ctx context.Context, typed string) string {
	var list v1alpha1.BreakGlassList
	if err := s.client.List(ctx, &list); err != nil {
		return ""
	}
	names := make([]string, len(list.Items))
	for i := range list.Items {
		names[i] = list.Items[i].Name
	}
	return meant(names, typed)
}

func meant(names []string, typed string) string {
	var near []string
	for _, name := range names {
		if typed != "" && (strings.Contains(name, typed) || strings.Contains(typed, name)) {
			near = append(near, name)
		}
	}
	const most = 3
	if len(near) == 0 || len(near) > most {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// patch sets fields of the spec.
func (s *session) patch(ctx context.Context, bg *v1alpha1.BreakGlass, spec map[string]any) error {
	raw, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return fmt.Errorf("encode the change: %w", err)
	}
	return s.client.Patch(ctx, bg, client.RawPatch(types.MergePatchType, raw))
}
