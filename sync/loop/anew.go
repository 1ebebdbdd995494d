// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// fluxForceAnnotation is Flux's name for RecreateAnnotation.
const fluxForceAnnotation = "kustomize.toolkit.fluxcd.io/force"

// goneWithin is how long an object that is made anew may take to be gone.
const goneWithin = time.Minute

// unchangeablePhrases are how the API server says that a field can't be changed.
// There is no code for it.
var unchangeablePhrases = []string{
	"immutable", "may not change once set", "may not be changed", "cannot change", "can not be changed", "cannot be changed",
	"may not change fields", "updates to statefulset spec", "are forbidden", "updates to provisioner",
}

// unchangeable tells whether the API server refuses an apply only because
// fields can't be changed: without them it would take the object.
func unchangeable(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	if details == nil || len(details.Causes) == 0 {
		return false
	}
	for _, cause := range details.Causes {
		if !slices.ContainsFunc(unchangeablePhrases, func(p string) bool { return strings.Contains(cause.Message, p) }) {
			return false
		}
	}
	return true
}

// mayBeMadeAnew tells whether git allows that an object is deleted and made
// anew. A namespace or a definition never is: it would take along what is in it.
func mayBeMadeAnew(e *ownership.Entry) bool {
	if foundation(e.ID) {
		return false
	}
	annotations := fastjson.MustParseBytes(e.Attempted.Desired).Get("metadata", "annotations")
	return string(annotations.GetStringBytes(v1alpha1.RecreateAnnotation)) == "true" ||
		string(annotations.GetStringBytes(fluxForceAnnotation)) == "enabled"
}

// unchangeableFailure says what can be done. The API server's own message may
// have the whole object in it.
func unchangeableFailure(e *ownership.Entry, at string, err error) error {
	var fields []string
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		for _, cause := range status.Status().Details.Causes {
			words := cause.Message
			if i := strings.LastIndex(words, ": "); i >= 0 {
				words = words[i+2:]
			}
			fields = append(fields, cause.Field+": "+words)
		}
	}
	what := fmt.Sprintf("%s: %s", at, strings.Join(fields, "; "))
	if foundation(e.ID) {
		return &failure{"Immutable", errors.New(what + "; it can't be made anew without what is in it: delete it by a commit of its own first")}
	}
	return &failure{"Immutable", fmt.Errorf(
		`%s; to have it deleted and made anew, give it the annotation %s: "true" in git; what it runs ends meanwhile`, what, v1alpha1.RecreateAnnotation)}
}

// anew are the objects of a stage that have to be made anew.
func (a *attempt) anew(s stage) []ownership.ID {
	return slices.DeleteFunc(a.changed(s), func(id ownership.ID) bool { return !a.planned[id].anew })
}

// markAnew has the inventory say of them that they may be deleted, and what
// comes then: a start that finds it so goes on from there.
func (a *attempt) markAnew(ids []ownership.ID) {
	for _, id := range ids {
		entry := *a.entries[id]
		entry.Pruning = true
		a.entries[id] = &entry
	}
}

// makeWay deletes what has to be made anew and asks the API server what it
// would make of it then. Where it refuses after all, the object comes back as
// it was applied last.
func (l *Loop) makeWay(ctx context.Context, a *attempt, ids []ownership.ID) error {
	failures := make([]error, len(ids))
	var group errgroup.Group
	group.SetLimit(l.o.Parallelism)
	for i, id := range ids {
		group.Go(func() error {
			failures[i] = l.deleteWhole(ctx, a, a.entries[id])
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var problems []error
	for i, id := range ids {
		if failures[i] != nil {
			problems = append(problems, objectFailure(a.entries[id], failures[i]))
			continue
		}
		a.planned[id].done = false
	}
	err := l.plan(ctx, a, ids)
	for _, id := range ids {
		a.planned[id].anew = true // for the count
	}
	if len(problems) > 0 {
		err = errors.Join(limited("RecreateFailed", problems), err)
	}
	if err != nil {
		err = errors.Join(err, l.abandon(ctx, a))
		for _, id := range ids {
			l.guard.queue.Add(id)
		}
		return err
	}
	for _, id := range ids {
		entry := *a.entries[id]
		entry.Pruning = false
		a.entries[id] = &entry
	}
	return l.persist(ctx, a)
}

// deleteWhole deletes an object and waits until it is gone.
func (l *Loop) deleteWhole(ctx context.Context, a *attempt, e *ownership.Entry) error {
	gone, err := l.Applier.Delete(ctx, a.target(e), "")
	if err != nil || gone {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, goneWithin, true, func(ctx context.Context) (bool, error) {
		_, err := l.Applier.Get(ctx, a.target(e))
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
	if err != nil {
		return fmt.Errorf("it was deleted to be made anew, and is still going away: a finalizer keeps it: %w", err)
	}
	return nil
}
