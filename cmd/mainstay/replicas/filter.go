// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
)

// Filter are the flags that select decisions.
type Filter struct {
	Object, User, Verdict, Sync, Since, Until, ID string
	DryRuns                                       bool
}

// Add adds the flags to a command's.
func (f *Filter) Add(cmd *cobra.Command) {
	f.AddScope(cmd)
	p := cmd.Flags()
	p.StringVar(&f.Verdict, "verdict", "", "permit, refuse or correct")
	p.StringVar(&f.ID, "id", "", "one `DECISION`")
	p.BoolVar(&f.DryRuns, "dry-runs", false, "dry runs as well")
	_ = cmd.RegisterFlagCompletionFunc("verdict", cobra.FixedCompletions([]string{"permit", "refuse", "correct"}, cobra.ShellCompDirectiveNoFileComp))
}

// AddScope adds those that say which changes, by whom and when.
func (f *Filter) AddScope(cmd *cobra.Command) {
	p := cmd.Flags()
	p.StringVar(&f.Object, "object", "", "`KIND/NAME` of the object, such as deploy/web; only its kind or its name: deploy or /web")
	p.StringVar(&f.User, "user", "", "who asked, such as alice or system:serviceaccount:ci:deployer")
	p.StringVar(&f.Sync, "sync", "", "the GitSync, by its `NAME` or as NAMESPACE/NAME")
	p.StringVar(&f.Since, "since", "", "no older than this `TIME`: a duration such as 30m or 7d, or 2026-11-26T14:00:00Z, or a date")
	p.StringVar(&f.Until, "until", "", "older than this `TIME`")
}

// Query is what the flags ask for.
func (f *Filter) Query(namespace string, now time.Time) (*reading.Query, error) {
	q := &reading.Query{ID: f.ID, Namespace: namespace, User: f.User, Verdict: f.Verdict, Sync: f.Sync, DryRuns: f.DryRuns}
	if f.Verdict != "" && !slices.Contains([]string{"permit", "refuse", "correct"}, f.Verdict) {
		return nil, fmt.Errorf("--verdict %s is unknown: use permit, refuse or correct", f.Verdict)
	}
	q.Kind, q.Name, _ = strings.Cut(f.Object, "/")
	for flag, at := range map[string]struct {
		text string
		to   *time.Time
	}{"--since": {f.Since, &q.Since}, "--until": {f.Until, &q.Until}} {
		if at.text == "" {
			continue
		}
		t, err := ParseTime(at.text, now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		*at.to = t
	}
	return q, nil
}

// ParseTime reads a time, or a duration before now, in which d stands for days.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		text = days + "h"
		if d, err := time.ParseDuration(text); err == nil && d >= 0 {
			return now.Add(-24 * d), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a duration such as 30m or 7d nor a time such as 2026-11-26T14:00:00Z", text)
}

// Status is an error with the exit status that tells of it.
type Status struct {
	error
	Code int
}

// ExitCode is what the process ends with.
func (s Status) ExitCode() int { return s.Code }

// Unwrap is the error itself.
func (s Status) Unwrap() error { return s.error }

// Unclear is an error that tells nothing about what was asked.
func Unclear(err error) error { return Status{err, 2} }

// Found is an error that is the answer to what was asked.
func Found(err error) error { return Status{err, 1} }

// Verdict tells an answer from what kept it from being found out.
func Verdict(err error) error {
	switch {
	case err == nil:
		return nil
	case IsAnswer(err):
		return Found(err)
	}
	return Unclear(err)
}
