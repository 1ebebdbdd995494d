// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// Tree is what people read of one GitSync.
func Tree(gs *v1alpha1.GitSync, now time.Time) string {
	t := &tree{now: now}
	st := &gs.Status
	t.line(0, "GitSync %s/%s  %s%s", gs.Namespace, gs.Name, gs.Spec.Enforcement.Mode, after("  ", gs.Spec.Contact))
	t.line(1, "repository  %s, %s, path %s", gs.Spec.Source.URL, ref(gs.Spec.Source.Ref), cmp.Or(gs.Spec.Source.Path, "."))
	t.revisions(st)
	if s := st.Suspended; s != nil {
		t.line(1, "suspended   until %s (%s) by %s: %s", clock(s.Until.Time), cli.Ago(s.Until.Time, now), s.By, s.Reason)
	}
	t.conditions(gs)
	t.objects(st)
	t.drift(st)
	if len(st.History) > 0 {
		t.line(1, "commits")
		for _, h := range st.History[:min(len(st.History), 5)] {
			t.line(2, "%s  applied %-9s %s: %s", commit(h.Revision), cli.Ago(h.AppliedAt.Time, now), cmp.Or(h.Author, "unknown"), cli.Line(h.Subject, 80))
		}
	}
	if n := next(gs); n != "" {
		t.line(1, "next        %s", n)
	}
	return t.b.String()
}

type tree struct {
	b   strings.Builder
	now time.Time
}

func (t *tree) line(depth int, format string, args ...any) {
	t.b.WriteString(strings.Repeat("  ", depth))
	t.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " "))
	t.b.WriteByte('\n')
}

func (t *tree) revisions(st *v1alpha1.GitSyncStatus) {
	by := ""
	if len(st.History) > 0 && st.History[0].Revision == st.LastAppliedRevision {
		h := st.History[0]
		by = fmt.Sprintf("  %s: %s, applied %s", h.Author, cli.Line(h.Subject, 60), cli.Ago(h.AppliedAt.Time, t.now))
	}
	t.line(1, "applied     %s%s", cmp.Or(cli.Short(st.LastAppliedRevision), "nothing yet"), by)
	if st.LastAttemptedRevision != "" && st.LastAttemptedRevision != st.LastAppliedRevision {
		t.line(1, "attempted   %s", cli.Short(st.LastAttemptedRevision))
	}
	if next := st.NextSync; next != nil {
		when := "now"
		if next.After(t.now.Add(time.Second)) {
			when = cli.Ago(next.Time, t.now)
		}
		t.line(1, "next try    %s", when)
	}
}

// conditions says those that tell something.
func (t *tree) conditions(gs *v1alpha1.GitSync) {
	for _, c := range gs.Status.Conditions {
		quiet := metav1.ConditionTrue // what it is where nothing is wrong
		switch c.Type {
		case v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionDrifted:
			quiet = metav1.ConditionFalse
		}
		if c.Status == quiet && c.Type != v1alpha1.ConditionReady && c.Type != v1alpha1.ConditionEnforcing {
			continue
		}
		lines := strings.Split(strings.TrimSpace(c.Message), "\n")
		t.line(1, "%-11s %s %s%s", c.Type, c.Status, c.Reason, after(": ", lines[0]))
		for _, l := range lines[1:] {
			t.line(7, "%s", l)
		}
	}
}

func (t *tree) objects(st *v1alpha1.GitSyncStatus) {
	t.line(1, "objects     %d of %d ready", st.Objects.Ready, st.Objects.Declared)
	for _, k := range st.Objects.Kinds {
		t.line(2, "%-40s %d of %d", cli.Kind(k.Group, k.Kind), k.Ready, k.Declared)
		for _, o := range st.Objects.NotReady {
			if o.Group == k.Group && o.Kind == k.Kind {
				t.line(3, "%s  %s%s", cli.Name(o.Namespace, o.Name), o.State, after(": ", o.Message))
			}
		}
	}
}

func (t *tree) drift(st *v1alpha1.GitSyncStatus) {
	d := st.Drift
	t.line(1, "drift       %d differ, %d permitted; in 24 hours %d refused, %d put back", d.Current, d.Permitted, d.Refused24h, d.Reverted24h)
	for _, o := range d.Objects {
		paths := strings.Join(o.Paths, ", ")
		if paths == "" {
			paths = "is missing"
		}
		words := o.State + ": " + paths
		if o.Manager != "" {
			words += " by field manager " + o.Manager
		}
		if o.Rule != "" {
			words += ", rule " + o.Rule
		}
		if o.Until != nil {
			words += fmt.Sprintf(", until %s (%s)", clock(o.Until.Time), cli.Ago(o.Until.Time, t.now))
		}
		t.line(2, "%s %s  %s", cli.Kind(o.Group, o.Kind), cli.Name(o.Namespace, o.Name), words)
	}
}

func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func commit(revision string) string {
	_, c, ok := strings.Cut(revision, "sha1:")
	if !ok {
		c = revision
	}
	return c[:min(len(c), 7)]
}

func ref(r v1alpha1.Ref) string {
	switch {
	case r.Branch != "":
		return "branch " + r.Branch
	case r.Tag != "":
		return "tag " + r.Tag
	case r.Commit != "":
		return "commit " + r.Commit
	}
	return "its ref"
}
