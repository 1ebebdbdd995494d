// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// requestCounter counts the requests about declared objects, but for watches.
type requestCounter struct{ reads, writes atomic.Int64 }

func (c *requestCounter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		switch {
		case r.URL.Query().Get("watch") != "":
		case r.Header.Get("X-Test") != "", !strings.Contains(r.URL.Path, "/configmaps"):
		case r.Method == http.MethodGet:
			c.reads.Add(1)
		default:
			c.writes.Add(1)
		}
		return next.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNothingIsAskedWhileNothingDiffers(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "git"))
	s.push("last.yaml", configMap("last", "git"))
	s.synced()
	var cm corev1.ConfigMap
	must(t, s.get("settings", &cm))
	s.await("the first look agrees", func() bool {
		s.loop.guard.mu.Lock()
		defer s.loop.guard.mu.Unlock()
		return len(s.loop.guard.agreed) == 2
	})
	reads, writes := s.counter.reads.Load(), s.counter.writes.Load()
	// A controller may write what git does not say, as often as it likes.
	const times = 20
	for i := range times {
		before := cm.DeepCopy()
		cm.Annotations = map[string]string{"count": strings.Repeat("x", i+1)}
		must(t, s.client.Patch(t.Context(), &cm, client.MergeFrom(before), client.FieldOwner("some-controller")))
	}
	// Two looks at an unchanged repository.
	s.synced()
	s.synced()
	s.await("the last event was compared", func() bool {
		s.loop.guard.mu.Lock()
		defer s.loop.guard.mu.Unlock()
		return len(s.loop.guard.pending) == 0 && s.loop.guard.queue.Len() == 0
	})
	if n := s.counter.reads.Load() - reads; n > 0 {
		t.Errorf("%d reads of declared objects", n)
	}
	if n := s.counter.writes.Load() - writes - times; n > 0 { // those of the controller are this test's
		t.Errorf("%d writes of declared objects", n)
	}
}
