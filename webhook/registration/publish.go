// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"cmp"
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pair are the two webhook configurations; nil where there is none.
type pair struct{ validating, mutating *configuration }

// kept is one configuration that is kept as it has to be.
type kept struct {
	*store
	// published is what was last written or found right.
	published *configuration
	restores  []time.Time
}

// step brings the cluster one step nearer to what has to be there, and says
// when to look again.
func (r *Registration) step(ctx context.Context) (time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have, err := r.look(ctx)
	if err != nil {
		return r.backoff(), err
	}
	want, wait := r.wanted(have)
	if want.validating == nil {
		return wait, nil
	}
	fought, err := r.publish(ctx, want, have)
	if err != nil {
		return r.backoff(), err
	}
	if fought.validating > 0 {
		return fought.validating, nil
	}
	wait = r.prove(ctx, want.validating, have.validating)
	if fought.mutating > 0 {
		wait = min(wait, fought.mutating)
	}
	return wait, nil
}

func (r *Registration) look(ctx context.Context) (pair, error) {
	var have pair
	var err error
	if have.validating, err = r.validating.get(ctx); err != nil {
		return pair{}, fmt.Errorf("get the webhook configuration: %w", err)
	}
	if have.mutating, err = r.mutating.get(ctx); err != nil {
		return pair{}, fmt.Errorf("get the mutating webhook configuration: %w", err)
	}
	return have, nil
}

// wanted is what has to be in the cluster, as far as this replica may say; no
// validating one and a time to wait where it can't say anything yet.
func (r *Registration) wanted(have pair) (pair, time.Duration) {
	if !r.options.Leader() {
		return r.followed(have), probeInterval
	}
	if !r.options.Ready() {
		r.set(State{r.State().Mode, "the inventories are being read"})
		return pair{}, 50 * time.Millisecond
	}
	bundle := r.options.Bundle()
	if len(bundle) == 0 {
		r.set(State{Ignore, "there is no serving certificate yet"})
		return pair{}, 100 * time.Millisecond
	}
	d := desired{
		declared: read(r.options.Index, r.options.Namespace), endpoint: r.options.Endpoint, bundle: bundle,
		namespace: r.options.Namespace, syncAccount: r.options.SyncAccount, token: r.options.Token, scaleFail: r.options.ScaleFail,
		timeout: r.options.TimeoutSeconds,
	}
	if r.options.Connect != nil {
		d.connect = r.options.Connect()
	}
	if !r.started {
		// A configuration that fails closed at this very endpoint was proven
		// before: opening it during each start would be a gap.
		r.started = true
		r.proven = r.proven || have.validating != nil && failsClosedAt(have.validating, d)
	}
	d.fail = r.proven && !r.off()
	return d.configurations(), 0
}

// followed is what a replica wants that does not lead. Its index may lag
// behind, so it keeps what was published, and knows an edited configuration by
// its digest. Which mutating one there has to be, the validating one says.
func (r *Registration) followed(have pair) pair {
	want := pair{r.validating.published, nil}
	if have.validating != nil && intact(have.validating) {
		want.validating = have.validating
	}
	switch {
	case want.validating == nil:
	case have.mutating != nil && intact(have.mutating):
		want.mutating = have.mutating
	case r.mutating.published != nil && digest(r.mutating.published) == want.validating.Annotations[mutatingAnnotation]:
		want.mutating = r.mutating.published
	}
	return want
}

// publish writes what differs, and only if the API server takes all of it. The
// mutating configuration comes first: the canary that meets the validating one
// then tells that both are there.
func (r *Registration) publish(ctx context.Context, want, have pair) (fought struct{ mutating, validating time.Duration }, err error) {
	var due []func() error
	plan := func(k *kept, want, have *configuration) (time.Duration, error) {
		if want == nil || have != nil && same(want, have) {
			return 0, nil
		}
		if wait := r.fight(k, want, have); wait > 0 {
			return wait, nil
		}
		due = append(due, func() error {
			if err := k.write(ctx, want, have); err != nil {
				return err
			}
			r.restored(k, want)
			return nil
		})
		return 0, k.write(ctx, want, have, metav1.DryRunAll)
	}
	if fought.mutating, err = plan(&r.mutating, want.mutating, have.mutating); err == nil {
		fought.validating, err = plan(&r.validating, want.validating, have.validating)
	}
	if err != nil {
		if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) {
			r.set(State{r.State().Mode, fmt.Sprintf("the API server takes no new webhook configuration, and the last one stays: %v", err)})
		}
		return fought, fmt.Errorf("try the webhook configuration: %w", err)
	}
	for _, write := range due {
		if err := write(); err != nil {
			return fought, fmt.Errorf("write the webhook configuration: %w", err)
		}
	}
	if err := r.withdraw(ctx, want, have); err != nil {
		return fought, err
	}
	if fought.validating == 0 {
		r.validating.published = want.validating
	}
	if fought.mutating == 0 {
		r.mutating.published = want.mutating
	}
	return fought, nil
}

// withdraw deletes the mutating configuration where the leader wants none.
func (r *Registration) withdraw(ctx context.Context, want, have pair) error {
	if want.mutating != nil || have.mutating == nil || !r.options.Leader() || have.mutating.Labels[NameLabel] != "mainstay" {
		return nil
	}
	if err := r.mutating.remove(ctx, metav1.Preconditions{UID: &have.mutating.UID}); err != nil {
		return fmt.Errorf("delete the mutating webhook configuration: %w", err)
	}
	return nil
}

// fight returns how long to wait where someone else writes the configuration
// again and again.
func (r *Registration) fight(k *kept, want, have *configuration) time.Duration {
	if !k.isRestore(want) {
		return 0
	}
	now := r.options.Clock()
	if !k.fought(now) {
		return 0
	}
	other := "someone deletes"
	if have != nil {
		other = cmp.Or(writer(have), "someone") + " edits"
	}
	r.set(State{r.State().Mode, fmt.Sprintf("%s the %s %s again and again; it is put back once a minute", other, k.kind, Name)})
	return fightInterval - now.Sub(k.restores[len(k.restores)-1])
}

// restored counts a write that was a restore.
func (r *Registration) restored(k *kept, want *configuration) {
	if !k.isRestore(want) {
		return
	}
	now := r.options.Clock()
	for len(k.restores) > 0 && now.Sub(k.restores[0]) > fightWindow {
		k.restores = k.restores[1:]
	}
	k.restores = append(k.restores, now)
	r.metrics.restored.Inc()
	r.inForce = ""
}

// isRestore tells a write that puts back what was published from a change of
// our own.
func (k *kept) isRestore(want *configuration) bool {
	return k.published != nil && digest(k.published) == digest(want)
}

// fought tells that the configuration was put back so often that the next time
// has to wait.
func (k *kept) fought(now time.Time) bool {
	n := len(k.restores)
	return n >= fightRestores && now.Sub(k.restores[n-fightRestores]) <= fightWindow && now.Sub(k.restores[n-1]) < fightInterval
}
