// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// goesOn is an error where a commit would have its own GitSync follow what can't
// be read: git revert would not be seen any more, and the GitSync is held, so
// that nobody could correct it by hand without an emergency.
func (l *Loop) goesOn(ctx context.Context, gs *v1alpha1.GitSync, a *attempt) error {
	id := ownership.ID{Group: gitSyncKind.Group, Kind: gitSyncKind.Kind, Namespace: gs.Namespace, Name: gs.Name}
	if a.planned[id] == nil || confirmed(gs, a.revision.Commit) {
		return nil
	}
	said, err := a.gitSync(id)
	if err != nil {
		return &failure{"Invalid", err}
	}
	if equality.Semantic.DeepEqual(said.Spec.Source, gs.Spec.Source) {
		return nil
	}
	next := gs.DeepCopy()
	next.Spec.Source = said.Spec.Source
	if err = l.readable(ctx, next); err == nil {
		return nil
	}
	reason := source.ReasonFetchFailed
	if f, ok := errors.AsType[*failure](err); ok {
		reason = f.reason
	}
	content := a.entries[id].Attempted
	return &failure{reason, fmt.Errorf(
		"%s:%d: this GitSync would follow what can't be read: %w; nothing of the commit is applied: git revert it, or let it through with `kubectl annotate gitsync %s -n %s --overwrite %s=%s`",
		content.File, content.Line, err, gs.Name, gs.Namespace, v1alpha1.ConfirmAnnotation, a.revision.Commit)}
}

// readable looks once at what a GitSync follows, and returns what keeps it from
// being read.
func (l *Loop) readable(ctx context.Context, gs *v1alpha1.GitSync) error {
	if l.forbidden(gs) {
		return &failure{"SourceNotAllowed", errors.New(notFromDisk)}
	}
	ctx, cancel := context.WithTimeout(ctx, askedWithin)
	defer cancel()
	unseen := &pass{}
	request, err := l.request(ctx, gs, unseen)
	if err == nil {
		_, err = l.fetch(ctx, gs, unseen, request)
	}
	return err
}
