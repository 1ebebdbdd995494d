// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package breakglass

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

func (s *session) json() bool { return s.flags.output == "json" }

// encode writes a BreakGlass or a list of them, as the API has them.
func (s *session) encode(object client.Object) error {
	object.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BreakGlass"))
	object.SetManagedFields(nil)
	e := json.NewEncoder(s.out)
	e.SetIndent("", "  ")
	return e.Encode(object)
}

// print says in a few lines what a request is about.
func (s *session) print(bg *v1alpha1.BreakGlass) {
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", key, plain(value))
		}
	}
	line("Name", bg.Namespace+"/"+bg.Name)
	phase := cmp.Or(bg.Status.Phase, v1alpha1.PhaseRequested)
	if bg.Spec.Emergency {
		phase += ", an emergency that nobody approved"
	}
	line("Phase", phase)
	line("Asked by", bg.Spec.RequestedBy)
	line("Approved by", bg.Spec.ApprovedBy)
	line("Reason", bg.Spec.Reason)
	line("Ticket", bg.Spec.Ticket)
	line("For", bg.Spec.Duration.Duration.String())
	if bg.Status.ExpiresAt != nil {
		line("Ends", clock(bg.Status.ExpiresAt))
	}
	line("Extends", bg.Spec.Extends)
	switch {
	case !bg.Spec.Holds():
		line("At its end", "git's values come back")
	case bg.Status.HeldUntil != nil:
		line("At its end", "what was changed is held until git says the same, at most until "+clock(bg.Status.HeldUntil))
	default:
		line("At its end", "what was changed is held until git says the same")
	}
	scope := cmp.Or(bg.Status.Scope, bg.Spec.Scope)
	if scope == nil {
		line("Decision", bg.Spec.Decision)
	} else {
		line("Operations", strings.Join(scope.Operations, ", "))
		line("Subresources", strings.Join(scope.SubResources, ", "))
		line("Kinds", every(scope.Kinds))
		line("Namespaces", every(scope.Namespaces))
		line("Names", every(scope.Names))
		line("Paths", every(scope.Paths))
	}
	subjects := bg.Status.Subjects
	if len(subjects) == 0 {
		subjects = bg.Spec.Subjects
	}
	names := make([]string, len(subjects))
	for i, subject := range subjects {
		names[i] = subject.String()
	}
	line("Used by", strings.Join(names, ", "))
	_ = w.Flush()
}

func every(list []string) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, ", ")
}

// plain keeps what others wrote from adding lines of its own.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

func clock(t *metav1.Time) string {
	if t == nil {
		return "an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func (s *session) show(bg *v1alpha1.BreakGlass) error {
	if s.json() {
		return s.encode(bg)
	}
	s.print(bg)
	if bg.Spec.ApprovedBy != "" && bg.Status.Phase == v1alpha1.PhaseRequested {
		fmt.Fprintln(s.out, "\nThe approval does not count: Mainstay did not judge it. Make a new request.")
	}
	s.summary(bg)
	if len(bg.Status.Uses) == 0 {
		return nil
	}
	fmt.Fprintln(s.out)
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tUSER\tOPERATION\tOBJECT\tPATHS\tDECISION")
	for _, u := range bg.Status.Uses {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", u.Time.UTC().Format("15:04:05"), u.User, u.Operation, u.Object, strings.Join(u.Paths, ", "), u.Decision)
	}
	return w.Flush()
}

func (s *session) list(ctx context.Context) error {
	var list v1alpha1.BreakGlassList
	err := s.client.List(ctx, &list, client.InNamespace(s.flags.namespace))
	if s.flags.namespace == "" && apierrors.IsForbidden(err) {
		err = s.client.List(ctx, &list, client.InNamespace(s.current))
	}
	if err != nil {
		return err
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.BreakGlass) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	if s.json() {
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BreakGlassList"))
		for i := range list.Items {
			list.Items[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BreakGlass"))
			list.Items[i].SetManagedFields(nil)
		}
		e := json.NewEncoder(s.out)
		e.SetIndent("", "  ")
		return e.Encode(&list)
	}
	if len(list.Items) == 0 {
		fmt.Fprintln(s.progress, "There are no requests.")
		return nil
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tNAME\tPHASE\tBY\tAPPROVED\tENDS\tREASON")
	for i := range list.Items {
		bg := &list.Items[i]
		ends, approved := "-", cmp.Or(bg.Spec.ApprovedBy, "-")
		if bg.Status.ExpiresAt != nil {
			ends = clock(bg.Status.ExpiresAt)
		}
		if bg.Spec.Emergency {
			approved = "(emergency)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", bg.Namespace, bg.Name, cmp.Or(bg.Status.Phase, v1alpha1.PhaseRequested),
			bg.Spec.RequestedBy, approved, ends, plain(bg.Spec.Reason))
	}
	return w.Flush()
}
