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

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/source"
	"github.com/mainstay-gitops/mainstay/sync/verify"
)

// verified is what the last look at the signatures gave.
type verified struct{ signer, problem string }

// accept tells whether a new commit may be looked into at all: whether it
// descends from the applied one, and who signed it. Nothing of a commit that
// may not, its policies included, takes effect.
func (l *Loop) accept(ctx context.Context, gs *v1alpha1.GitSync, p *pass, r source.Request, s source.Snapshot) error {
	base := l.applied(gs)
	since, err := l.since(ctx, gs, r, s.Revision, base)
	if err != nil {
		return err
	}
	if rewound(gs, base, s.Revision, since) {
		return &failure{"Rewound", fmt.Errorf(
			"%s has moved to %s, which does not descend from the applied %s: push a commit that does (git revert), or let it through once with `kubectl annotate gitsync %s -n %s --overwrite %s=%s`; spec.source.allowRewind lets all through",
			refName(s.Revision.Name), s.Revision.Commit, base.Commit, gs.Name, gs.Namespace, v1alpha1.ConfirmAnnotation, s.Revision.Commit)}
	}
	if !verifies(gs) {
		p.verified = verified{}
		return nil
	}
	message, err := l.verify(ctx, gs, s, since)
	if err != nil {
		p.verified = verified{problem: err.Error()}
		if f, ok := errors.AsType[*failure](err); ok {
			return f
		}
		return &failure{"Unverified", err}
	}
	p.verified = verified{signer: message}
	return nil
}

// since reads the history between the applied commit and a new one, where it is
// needed; nil where it is not.
func (l *Loop) since(ctx context.Context, gs *v1alpha1.GitSync, r source.Request, to source.Revision, base ownership.Revision) (*source.History, error) {
	if base.Commit == "" || base.Commit == to.Commit || !guarded(gs, base, to) && !everyCommit(gs) {
		return nil, nil //nolint:nilnil // It is not needed.
	}
	r.Base, r.BaseTime = base.Commit, base.Time
	h, err := l.Source.Since(ctx, r, to.Commit, everyCommit(gs))
	if err != nil {
		return nil, &failure{source.Reason(err), err}
	}
	return &h, nil
}

// guarded tells that the ref may only move forward: the same branch or tag as
// the applied one. Another ref, or a commit by its id, was chosen by whoever
// wrote the GitSync.
func guarded(gs *v1alpha1.GitSync, base ownership.Revision, to source.Revision) bool {
	return !gs.Spec.Source.AllowRewind && refName(to.Name) != "" && refName(base.Name) == refName(to.Name)
}

func rewound(gs *v1alpha1.GitSync, base ownership.Revision, to source.Revision, since *source.History) bool {
	return since != nil && guarded(gs, base, to) && !since.Descends && !confirmed(gs, to.Commit)
}

// refName is the ref of a revision's name; empty for a commit by its id.
func refName(revision string) string {
	ref, _, ok := strings.Cut(revision, "@sha1:")
	if !ok {
		return ""
	}
	return ref
}

func verifies(gs *v1alpha1.GitSync) bool {
	v := gs.Spec.Source.Verify
	return v != nil && v.Mode != v1alpha1.VerifyOff
}

func everyCommit(gs *v1alpha1.GitSync) bool {
	return verifies(gs) && gs.Spec.Source.Verify.Mode == v1alpha1.VerifyStrict
}

// verify returns who signed a revision, or what is not signed.
func (l *Loop) verify(ctx context.Context, gs *v1alpha1.GitSync, s source.Snapshot, since *source.History) (string, error) {
	ref := gs.Spec.Source.Verify.SecretRef
	if ref == nil {
		return "", errors.New("spec.source.verify.secretRef is missing: name the Secret with the keys of those who may sign")
	}
	const field = "spec.source.verify.secretRef"
	data, err := l.secret(ctx, gs, ref, field, "OpenPGP public keys under names that end in .asc, or SSH keys under allowed_signers")
	if err != nil {
		return "", err
	}
	keys, err := verify.NewKeys(data)
	if err != nil {
		return "", fmt.Errorf("secret %s/%s of %s: %w", gs.Namespace, ref.Name, field, err)
	}
	now := time.Now()
	signer, err := head(keys, s, now)
	if err != nil {
		return "", err
	}
	message := fmt.Sprintf("commit %s is signed by %s", short7(s.Revision.Commit), signer)
	if !everyCommit(gs) {
		return message, nil
	}
	if since == nil {
		return message + "; it is the first one, so that those before it were not looked at", nil
	}
	if !since.Whole {
		return "", fmt.Errorf("the commits between the applied one and %s cannot all be read, so that their signatures are unknown", short7(s.Revision.Commit))
	}
	for _, c := range slices.Backward(since.Commits) {
		if _, err := keys.Commit(c.Raw, now); err != nil {
			return "", fmt.Errorf("commit %s by %s (%q) %w", short7(c.ID), authorName(c.Author), c.Subject, err)
		}
	}
	if n := len(since.Commits); n > 1 {
		message += fmt.Sprintf(", and so are the %d before it, since the applied one", n-1)
	}
	return message, nil
}

// head checks the commit that is applied, or the signed tag that leads to it.
func head(keys *verify.Keys, s source.Snapshot, now time.Time) (verify.Signer, error) {
	commit := short7(s.Revision.Commit)
	if s.Tag != nil {
		tag := strings.TrimPrefix(refName(s.Revision.Name), "refs/tags/")
		signer, err := keys.Tag(s.Tag, tag, s.Revision.Commit, now)
		if err == nil {
			return signer, nil
		}
		// An unsigned tag says nothing; a signature that does not fit says no.
		if !errors.Is(err, verify.ErrUnsigned) {
			return verify.Signer{}, fmt.Errorf("tag %s %w", tag, err)
		}
	}
	signer, err := keys.Commit(s.Commit, now)
	if err != nil {
		return verify.Signer{}, fmt.Errorf("commit %s by %s (%q) %w", commit, authorName(s.Revision.Author), s.Revision.Subject, err)
	}
	return signer, nil
}

func short7(commit string) string { return commit[:min(7, len(commit))] }

// verifiedCondition says who signed the revision that was looked at last, or
// what kept it from being applied.
func verifiedCondition(gs *v1alpha1.GitSync, s *v1alpha1.GitSyncStatus, p *pass) {
	switch {
	case !verifies(gs):
		meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionVerified)
	case p.verified.problem != "":
		set(s, gs, v1alpha1.ConditionVerified, metav1.ConditionFalse, "Unverified", p.verified.problem)
	case p.verified.signer != "":
		set(s, gs, v1alpha1.ConditionVerified, metav1.ConditionTrue, "Signed", p.verified.signer)
	}
}
