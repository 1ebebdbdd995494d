// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

// EventUsed is the reason of the Event when a grant is used.
const EventUsed = "GrantUsed"

const (
	maxUses     = 50
	maxUsePaths = 10
	// gatherUses is how long uses are collected before they are written.
	gatherUses = 200 * time.Millisecond
)

// UsesOptions of Uses. All but Error are required.
type UsesOptions struct {
	// Client writes the status of BreakGlasses, uncached.
	Client client.Client
	Events events.EventRecorder
	// Error is told of what could not be written.
	Error func(error)
}

// Uses shows in the status of a BreakGlass what it permitted. Every replica
// writes what it has let through, after it has answered: what is lost when too
// much comes at once is in the ledger.
type Uses struct {
	o     UsesOptions
	queue chan use
}

type use struct {
	key types.NamespacedName
	uid types.UID
	v1alpha1.BreakGlassUse
}

// NewUses checks the options.
func NewUses(o UsesOptions) (*Uses, error) {
	switch {
	case o.Client == nil:
		return nil, errors.New("grant: UsesOptions.Client is required")
	case o.Events == nil:
		return nil, errors.New("grant: UsesOptions.Events is required")
	}
	if o.Error == nil {
		o.Error = func(error) {}
	}
	return &Uses{o: o, queue: make(chan use, 256)}, nil
}

// NeedLeaderElection tells that every replica writes what it let through.
func (u *Uses) NeedLeaderElection() bool { return false }

// Used takes note of a change that a grant permitted; others are ignored. It
// never waits.
func (u *Uses) Used(c *policy.Change, d policy.Decision) {
	if c.DryRun || d.Grant == nil || d.Verdict != policy.Permit {
		return
	}
	entry := use{
		key: types.NamespacedName{Namespace: d.Grant.Namespace, Name: d.Grant.Name}, uid: d.Grant.UID,
		BreakGlassUse: v1alpha1.BreakGlassUse{
			Decision: d.ID, Time: metav1.NewTime(c.Time).Rfc3339Copy(), Object: c.ID().String(), Operation: string(c.Operation),
		},
	}
	if c.User != nil {
		entry.User = c.User.Username
	}
	for _, p := range d.Permits {
		if p.Rule == d.Grant.Rule() && p.Field.Path != nil && len(entry.Paths) < maxUsePaths {
			entry.Paths = append(entry.Paths, p.Field.Path.String())
		}
	}
	select {
	case u.queue <- entry:
	default:
	}
}

// Start writes until ctx ends.
func (u *Uses) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-u.queue:
			gathered := map[types.NamespacedName][]use{first.key: {first}}
			timer := time.NewTimer(gatherUses)
			for waiting := true; waiting; {
				select {
				case next := <-u.queue:
					gathered[next.key] = append(gathered[next.key], next)
				case <-timer.C:
					waiting = false
				case <-ctx.Done():
					waiting = false
				}
			}
			timer.Stop()
			for key, list := range gathered {
				if err := u.write(ctx, key, list); err != nil && ctx.Err() == nil {
					u.o.Error(err)
				}
			}
		}
	}
}

func (u *Uses) write(ctx context.Context, key types.NamespacedName, list []use) error {
	var written *v1alpha1.BreakGlass
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		bg := new(v1alpha1.BreakGlass)
		if err := u.o.Client.Get(ctx, key, bg); err != nil {
			return err
		}
		before := bg.DeepCopy()
		for _, entry := range list {
			if entry.uid == bg.UID {
				bg.Status.Uses = append(bg.Status.Uses, entry.BreakGlassUse)
			}
		}
		if over := len(bg.Status.Uses) - maxUses; over > 0 {
			bg.Status.Uses = bg.Status.Uses[over:]
		}
		written = bg
		return u.o.Client.Status().Patch(ctx, bg, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the uses of breakglass %s: %w", key, err)
	}
	if err != nil {
		return nil //nolint:nilerr // it is gone, and its uses are in the ledger
	}
	last := list[len(list)-1]
	note := fmt.Sprintf("%s: %s of %s, decision %s", last.User, strings.ToLower(last.Operation), last.Object, last.Decision)
	if more := len(list) - 1; more > 0 {
		note += fmt.Sprintf(" and %d more", more)
	}
	u.o.Events.Eventf(written, nil, corev1.EventTypeNormal, EventUsed, last.Operation, "%s", note)
	return nil
}
