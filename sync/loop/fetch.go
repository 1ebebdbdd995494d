// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// sharedLook is how old somebody else's look at a repository may be to count
// for a GitSync whose interval is over.
const sharedLook = 2 * time.Second

// request says what to fetch for a GitSync.
func (l *Loop) request(ctx context.Context, gs *v1alpha1.GitSync, p *pass) (source.Request, error) {
	auth, err := l.auth(ctx, gs)
	if err != nil {
		return source.Request{}, err
	}
	ref := gs.Spec.Source.Ref
	r := source.Request{
		URL: gs.Spec.Source.URL, Auth: auth,
		Branch: ref.Branch, Tag: ref.Tag, SemVer: ref.SemVer, Commit: ref.Commit, Name: ref.Name,
		Submodules: gs.Spec.Source.Submodules == v1alpha1.SubmodulesFollow,
		Now:        p.requested(gs),
	}
	if !r.Now && !p.pushed(gs) {
		r.MaxAge = min(sharedLook, intervalOf(gs)/10)
	}
	if base := l.applied(gs); base.Commit != "" && (!gs.Spec.Source.AllowRewind || everyCommit(gs)) {
		r.Base, r.BaseTime = base.Commit, base.Time
	}
	return r, nil
}

// fetch looks at the ref and reads its commit.
func (l *Loop) fetch(ctx context.Context, gs *v1alpha1.GitSync, p *pass, r source.Request) (source.Snapshot, error) {
	if p.done(gs, p.commit) {
		r.LastCommit = p.commit
	}
	push, began := gs.Status.LastPush, l.now()
	snapshot, err := l.Source.Fetch(ctx, r)
	if err != nil {
		if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.reach.failed(l.now())
		}
		return source.Snapshot{}, &failure{source.Reason(err), err}
	}
	if p.reach.read(began, l.now()) {
		l.guard.again() // what has ended waits for this
	}
	if push != nil {
		p.push = push.Time
	}
	if !snapshot.Changed {
		return snapshot, nil
	}
	if err := source.CheckPath(snapshot.FS, gs.Spec.Source.Path); err != nil {
		return source.Snapshot{}, &failure{source.Reason(err), err}
	}
	return snapshot, nil
}

// applied is the revision that is enforced; zero while there is none.
func (l *Loop) applied(gs *v1alpha1.GitSync) ownership.Revision {
	known, ok := l.Index.Sync(client.ObjectKeyFromObject(gs))
	if !ok {
		return ownership.Revision{}
	}
	return known.Applied
}

// requested tells that somebody asks for a look now.
func (p *pass) requested(gs *v1alpha1.GitSync) bool {
	return p.request != gs.Annotations[v1alpha1.RequestedAtAnnotation]
}

// pushed tells that a push webhook was heard since the last look.
func (p *pass) pushed(gs *v1alpha1.GitSync) bool {
	return gs.Status.LastPush != nil && gs.Status.LastPush.After(p.push)
}

// confirmed tells that somebody lets a commit through that waits.
func confirmed(gs *v1alpha1.GitSync, commit string) bool {
	return names(gs.Annotations[v1alpha1.ConfirmAnnotation], commit)
}

func intervalOf(gs *v1alpha1.GitSync) time.Duration {
	if gs.Spec.Interval == nil {
		return defaultInterval
	}
	return gs.Spec.Interval.Duration
}

// untilNext is how long to wait for the next look. All GitSyncs of a repository
// with one interval look at the same time, and share one look.
func untilNext(url string, interval time.Duration, now time.Time) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(url))
	offset := time.Duration(h.Sum64() % uint64(interval)) //nolint:gosec // An interval is positive.
	since := (time.Duration(now.UnixNano()) - offset) % interval
	if since < 0 {
		since += interval
	}
	return interval - since
}

func (l *Loop) auth(ctx context.Context, gs *v1alpha1.GitSync) (source.Auth, error) {
	ref := gs.Spec.Source.SecretRef
	if ref == nil {
		return source.Auth{}, nil
	}
	data, err := l.secret(ctx, gs, ref, "spec.source.secretRef", "username and password, bearerToken, a GitHub App's keys, or identity and known_hosts")
	if err != nil {
		return source.Auth{}, err
	}
	return source.AuthFromSecret(data), nil
}

// secret reads what a field of a GitSync refers to.
func (l *Loop) secret(ctx context.Context, gs *v1alpha1.GitSync, ref *v1alpha1.LocalRef, field, content string) (map[string][]byte, error) {
	var secret corev1.Secret
	err := l.Client.Get(ctx, types.NamespacedName{Namespace: gs.Namespace, Name: ref.Name}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &failure{"SecretNotFound", fmt.Errorf("secret %s/%s of %s does not exist: create it with %s", gs.Namespace, ref.Name, field, content)}
	case err != nil:
		return nil, &failure{"SecretNotFound", fmt.Errorf("get secret %s/%s: %w", gs.Namespace, ref.Name, err)}
	}
	return secret.Data, nil
}

// pause is how long to wait after a failure: at least until the server would be
// asked at all.
func pause(err error, next time.Duration) time.Duration {
	if f, ok := errors.AsType[*failure](err); ok {
		return max(next, source.RetryAfter(f.err))
	}
	return next
}
