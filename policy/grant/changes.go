// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/permit"
)

// Permits are the sealed records of what was permitted. permit.Store is.
type Permits interface {
	All() []permit.Permit
	// Changed is closed when one comes, changes or goes.
	Changed() <-chan struct{}
}

const (
	maxAwaiting = 200
	maxSettled  = 100
	// maxChanged is how many paths of an object are listed.
	maxChanged = 100
	// maxTold is how many ends of changes are remembered until the status has
	// them.
	maxTold = 10000
)

// change is one changed path of an object; the empty path is that of an object
// that was deleted.
type change struct {
	grant        types.UID
	object, path string
}

func changeOf(p permit.Permit) change { return change{p.Grant, p.ID.String(), p.Path} }

// Settled is told how a change is over, before its permit goes: one of the
// v1alpha1.Settled….
func (k *Keeper) Settled(p permit.Permit, how string) {
	if p.Grant == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.settled) < maxTold {
		k.settled[changeOf(p)] = how
	}
}

// changes brings what was changed under a grant into its status. The permits are
// what it goes by: what has one stands, and what has none any more is over.
func (k *Keeper) changes(bg *v1alpha1.BreakGlass, now time.Time) {
	var list []permit.Permit
	for _, p := range k.o.Permits.All() {
		if p.Grant == bg.UID && p.Grant != "" {
			list = append(list, p)
		}
	}
	standing := map[change]bool{}
	for _, p := range list {
		standing[changeOf(p)] = true
	}
	k.settle(bg, standing, now)
	bg.Status.AwaitingGit = awaiting(list)
}

// awaiting are the changes by object.
func awaiting(list []permit.Permit) []v1alpha1.BreakGlassChange {
	slices.SortFunc(list, func(a, b permit.Permit) int {
		return cmp.Or(strings.Compare(a.ID.String(), b.ID.String()), strings.Compare(a.Path, b.Path))
	})
	var out []v1alpha1.BreakGlassChange
	last := map[string]time.Time{}
	at := map[string]int{}
	for _, p := range list {
		object := p.ID.String()
		i, known := at[object]
		if !known {
			if len(out) == maxAwaiting {
				break
			}
			i = len(out)
			at[object] = i
			out = append(out, v1alpha1.BreakGlassChange{Object: object})
		}
		c := &out[i]
		if p.Path != "" && len(c.Paths) < maxChanged {
			c.Paths = append(c.Paths, p.Path)
		}
		if path, err := fieldset.Parse(p.Path); err == nil {
			c.RestartsPods = c.RestartsPods || policy.RestartsPods(p.ID, path)
		}
		if !p.At.Before(last[object]) {
			last[object], c.By, c.Decision = p.At, p.Account, p.Decision
		}
	}
	return out
}

// settle moves what stood and has no permit any more to what is over.
func (k *Keeper) settle(bg *v1alpha1.BreakGlass, standing map[change]bool, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	status := &bg.Status
	for _, before := range status.AwaitingGit {
		over := map[string][]string{}
		paths := before.Paths
		if len(paths) == 0 {
			paths = []string{""}
		}
		for _, path := range paths {
			c := change{bg.UID, before.Object, path}
			if standing[c] {
				continue
			}
			over[k.settled[c]] = append(over[k.settled[c]], path)
			delete(k.settled, c)
		}
		for _, how := range slices.Sorted(maps.Keys(over)) {
			entry := before
			entry.Paths, entry.How, entry.RestartsPods = over[how], how, false
			if len(before.Paths) == 0 {
				entry.Paths = nil
			}
			when := metav1.NewTime(now).Rfc3339Copy()
			entry.At = &when
			status.Settled = append(status.Settled, entry)
		}
	}
	if n := len(status.Settled) - maxSettled; n > 0 {
		status.Settled = slices.Clone(status.Settled[n:])
	}
}

// gather is how long changes of permits are collected before they are looked at.
const gather = 100 * time.Millisecond

// follow has the status of those BreakGlasses looked at whose permits have
// changed, until ctx ends. Permits of policies come and go all the time and are
// not news.
func (k *Keeper) follow(ctx context.Context) {
	known := map[string]string{}
	for {
		changed := k.o.Permits.Changed()
		now := map[string][]string{}
		for _, p := range k.o.Permits.All() {
			if p.Grant != "" {
				now[p.Rule] = append(now[p.Rule], p.ID.String()+" "+p.Path+" "+p.Decision)
			}
		}
		next := make(map[string]string, len(now))
		for rule, list := range now {
			slices.Sort(list)
			next[rule] = strings.Join(list, "\n")
		}
		for rule := range known {
			if _, ok := next[rule]; !ok {
				next[rule] = "" // it is told once more, and then forgotten
			}
		}
		for rule, list := range next {
			if known[rule] == list && list != "" {
				continue
			}
			if key, ok := policy.GrantOf(rule); ok && !k.look(ctx, key) {
				return
			}
			if list == "" {
				delete(next, rule)
			}
		}
		known = next
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gather):
		}
	}
}

// look has one BreakGlass looked at; false where ctx has ended.
func (k *Keeper) look(ctx context.Context, key types.NamespacedName) bool {
	bg := &v1alpha1.BreakGlass{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	select {
	case <-ctx.Done():
		return false
	case k.again <- event.TypedGenericEvent[*v1alpha1.BreakGlass]{Object: bg}:
		return true
	}
}
