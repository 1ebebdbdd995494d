// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// Condition of a GitSync; the zero value where it was not said yet.
func Condition(gs *v1alpha1.GitSync, name string) metav1.Condition {
	if c := meta.FindStatusCondition(gs.Status.Conditions, name); c != nil {
		return *c
	}
	return metav1.Condition{Type: name, Status: metav1.ConditionUnknown, Message: "not said yet"}
}

// Ago is a time in words, such as "3m ago" or "in 12m".
func Ago(t, now time.Time) string {
	if d := now.Sub(t); d >= 0 {
		return Span(d) + " ago"
	}
	return "in " + Span(t.Sub(now))
}

// Span is a duration in its largest unit.
func Span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Short is a revision with the first seven digits of its commit.
func Short(revision string) string {
	ref, commit, ok := strings.Cut(revision, "sha1:")
	if !ok {
		return revision
	}
	return ref + "sha1:" + commit[:min(len(commit), 7)]
}

// Kind is a kind with its group, as kubectl takes it.
func Kind(group, kind string) string {
	if group == "" {
		return kind
	}
	return kind + "." + group
}

// Name is a name with its namespace, where there is one.
func Name(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// Line is a text on one line, of at most n characters.
func Line(text string, n int) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}
