// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// newsInterval gathers what happens to a GitSync's objects, so that a rollout
// of a thousand pods is not a thousand writes of a status.
const newsInterval = 500 * time.Millisecond

// news are GitSyncs of which something is to be told, or that are to look at
// their repository now.
type news struct {
	mu sync.Mutex
	// about tells for each of them whether the repository is to be looked at.
	about   map[types.NamespacedName]bool
	arrived chan struct{}
}

func newNews() *news {
	return &news{about: map[types.NamespacedName]bool{}, arrived: make(chan struct{}, 1)}
}

// of has the status of a GitSync written soon. It never blocks.
func (n *news) of(key types.NamespacedName) { n.add(key, false) }

// ask has a GitSync look at its repository soon. It never blocks.
func (n *news) ask(key types.NamespacedName) { n.add(key, true) }

func (n *news) add(key types.NamespacedName, look bool) {
	n.mu.Lock()
	n.about[key] = n.about[key] || look
	n.mu.Unlock()
	select {
	case n.arrived <- struct{}{}:
	default:
	}
}

// take returns what there is and forgets it.
func (n *news) take() map[types.NamespacedName]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	about := n.about
	n.about = map[types.NamespacedName]bool{}
	return about
}

// deliver has Reconcile called for the GitSyncs of which there is news, until
// ctx ends.
func (l *Loop) deliver(ctx context.Context, to chan<- event.GenericEvent) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.told.arrived:
		}
		for key, look := range l.told.take() {
			p := l.pass(key)
			if look {
				p.asked.Store(true)
			} else {
				p.news.Store(true)
			}
			select {
			case to <- event.GenericEvent{Object: &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}}:
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(newsInterval):
		}
	}
}

// onlyNews tells that a GitSync is called only because of news of its objects,
// which its status can tell without a look at the repository.
func (l *Loop) onlyNews(gs *v1alpha1.GitSync, p *pass) bool {
	news, asked := p.news.Swap(false), p.asked.Swap(false)
	if !news || asked || !time.Now().Before(p.nextLook) || p.generation != gs.Generation || p.stale.Load() || p.soon.Load() || p.pushed(gs) || p.answered != answers(gs) ||
		p.request != gs.Annotations[v1alpha1.RequestedAtAnnotation] {
		return false
	}
	for _, id := range p.waitsFor {
		if l.health.Of(id).Done() {
			return false // something may go on
		}
	}
	return true
}
