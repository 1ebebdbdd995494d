// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// reach remembers whether a GitSync's repository can be read, so that the end of
// an exception puts nothing back while nobody can bring a repair into git.
type reach struct {
	mu sync.Mutex
	// looked is when the repository was read last, lost since when it can't be
	// read, back when it could be read again after that.
	looked, lost, back time.Time
	// suspended is the last suspension, and off the last time that mainstay-off
	// was in force, until nothing waits for the repository because of it.
	suspended, off *suspend.Suspension
}

// remember takes over what the status says of the repository, where a leader
// begins, and which exceptions there were: nil for none.
func (r *reach) remember(s *v1alpha1.GitSyncStatus, suspended, off *suspend.Suspension) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspended, r.off = suspended, off
	if at := s.Repository; at != nil {
		if at.LostAt != nil {
			r.lost = at.LostAt.Time
		}
		if at.BackAt != nil {
			r.back = at.BackAt.Time
		}
	}
}

// read takes note that the repository could be read by a look that began then,
// and tells whether that is news.
func (r *reach) read(began, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = began
	if r.lost.IsZero() {
		return false
	}
	r.lost, r.back = time.Time{}, now
	return true
}

// failed takes note that it could not.
func (r *reach) failed(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost.IsZero() {
		r.lost = now
	}
}

// describe says in the status since when the repository can't be read, or when
// that was over; quiet is how long that matters.
func (r *reach) describe(s *v1alpha1.GitSyncStatus, now time.Time, quiet time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var at v1alpha1.RepositoryStatus
	if !r.lost.IsZero() {
		at.LostAt = new(metav1.NewTime(r.lost.Truncate(time.Second)))
	}
	if !r.back.IsZero() && now.Before(r.back.Add(quiet)) {
		at.BackAt = new(metav1.NewTime(r.back.Truncate(time.Second)))
	}
	s.Repository = nil
	if at != (v1alpha1.RepositoryStatus{}) {
		s.Repository = &at
	}
}

const (
	// whileLost is how often what waits for a repository is looked at; that it is
	// back is told.
	whileLost = 30 * time.Second
	// untilLooked is how often while a look at the repository is on its way.
	untilLooked = 200 * time.Millisecond
)

// quiet tells why nothing that ended at end is put back yet, and when to ask
// again; empty where it may be. The repository has to be read once after the
// end: it may hold the repair by now, or be gone.
func (r *reach) quiet(end, now time.Time, after time.Duration) (why string, again time.Time, look bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.lost.IsZero():
		return "the repository can't be read since " + r.lost.UTC().Format("15:04 UTC"), now.Add(whileLost), false
	case !r.back.IsZero() && now.Before(r.back.Add(after)):
		until := r.back.Add(after)
		return fmt.Sprintf("the repository can be read again; git's values come back at %s", until.UTC().Format("15:04 UTC")), until, false
	case r.looked.Before(end):
		return "the repository is looked at first", now.Add(untilLooked), true
	}
	return "", time.Time{}, false
}

// quiet is reach.quiet for a GitSync; it has the repository looked at if need be.
func (l *Loop) quiet(key types.NamespacedName, end, now time.Time) (why string, again time.Time) {
	why, again, look := l.pass(key).reach.quiet(end, now, l.o.AfterOutage)
	if look {
		l.wake(key)
	}
	return why, again
}

// still tells whether a GitSync is suspended, or whether a suspension or
// mainstay-off lingers.
func (l *Loop) still(key types.NamespacedName) (suspend.Suspension, bool) {
	if s, ok := l.Suspended.State(key, l.now()); ok {
		r := &l.pass(key).reach
		r.mu.Lock()
		r.suspended = &s
		r.mu.Unlock()
		return s, true
	}
	return l.lingering(key)
}

// lingering tells whether a suspension or mainstay-off has ended by itself while
// the repository can't be read: what was changed meanwhile stays until it could be
// brought into git.
func (l *Loop) lingering(key types.NamespacedName) (suspend.Suspension, bool) {
	now := l.now()
	if _, ok := l.Suspended.State(key, now); ok || l.off() {
		return suspend.Suspension{}, false // it is in force, and not over
	}
	r := &l.pass(key).reach
	r.mu.Lock()
	last, lastOff := r.suspended, r.off
	r.mu.Unlock()
	for _, past := range []*suspend.Suspension{last, lastOff} {
		if past == nil || now.Before(past.Until) {
			continue // somebody has ended it, and knows what comes back
		}
		if why, again := l.quiet(key, past.Until, now); why != "" {
			lingering := *past
			lingering.Until, lingering.Reason = again, past.Reason+" (it is over; "+why+")"
			return lingering, true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.suspended == last {
		r.suspended = nil
	}
	if r.off == lastOff {
		r.off = nil
	}
	return suspend.Suspension{}, false
}

// offFor is off, and remembers it for a GitSync.
func (l *Loop) offFor(key types.NamespacedName) bool {
	active, reason, until := l.Off.State(l.now())
	if active {
		r := &l.pass(key).reach
		r.mu.Lock()
		r.off = &suspend.Suspension{By: v1alpha1.OffConfigMap, Reason: reason, Since: l.now(), Until: until}
		r.mu.Unlock()
	}
	return active
}

// recall looks at all GitSyncs before anything is judged, so that a new leader
// knows which repositories can't be read, and what was suspended or turned off.
func (l *Loop) recall(ctx context.Context) error {
	var list v1alpha1.GitSyncList
	if err := l.Client.List(ctx, &list); err != nil {
		return fmt.Errorf("list gitsyncs: %w", err)
	}
	var off *suspend.Suspension
	if reason, from, until, ok := l.Off.Asked(); ok {
		off = &suspend.Suspension{By: v1alpha1.OffConfigMap, Reason: reason, Since: from, Until: until}
	}
	for i := range list.Items {
		gs := &list.Items[i]
		l.pass(client.ObjectKeyFromObject(gs)).reach.remember(&gs.Status, l.wasSuspended(gs), off)
	}
	return nil
}

// wasSuspended is the last suspension of a GitSync, by its sealed record: the
// status alone proves none. Nobody has ended it, since that takes the record away.
func (l *Loop) wasSuspended(gs *v1alpha1.GitSync) *suspend.Suspension {
	for _, p := range l.Permits.WrittenFor(gs.UID) {
		if p.Rule != suspend.Rule || p.Until == nil {
			continue
		}
		s := &suspend.Suspension{By: p.Account, Since: p.At, Until: *p.Until}
		if was := gs.Status.Suspended; was != nil && was.Since.Time.Equal(p.At.Truncate(time.Second)) {
			s.Reason = was.Reason
			return s
		}
		if _, reason, ok := strings.Cut(strings.TrimSpace(gs.Annotations[v1alpha1.SuspendAnnotation]), " "); ok {
			s.Reason = strings.TrimSpace(reason)
			return s
		}
	}
	return nil
}

// now is the loop's clock.
func (l *Loop) now() time.Time { return l.o.Clock() }

const (
	clockTick = time.Second
	// stepped is by how much the clock has to be set for that to count.
	stepped = time.Second
)

// followClock has all that differs judged again when the clock is set: timers
// count the time that passes, and ends are points of the day.
func (l *Loop) followClock(ctx context.Context) {
	ticker := time.NewTicker(clockTick)
	defer ticker.Stop()
	began, said := time.Now(), l.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, says := time.Now(), l.now()
		if step := says.Round(0).Sub(said.Round(0)) - now.Sub(began); step.Abs() > stepped {
			l.guard.again()
		}
		began, said = now, says
	}
}
