// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/sync/apply"
)

// shortOfTime is a server that refuses as the API server does when it has no
// time: a real one can't be made to on demand.
func shortOfTime(t *testing.T, refuse func(request int32) int) (*apply.Applier, *prometheus.Registry, *atomic.Int32) {
	t.Helper()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if status := refuse(requests.Add(1)); status != 0 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "Too many requests, please try again later.", status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"ConfigMap"}`))
	}))
	t.Cleanup(server.Close)
	client, err := apply.ClientFor(&rest.Config{Host: server.URL}, server.Client())
	must(t, err)
	registry := prometheus.NewRegistry()
	applier, err := apply.New(apply.Options{Client: client, Parallelism: 16, Registerer: registry})
	must(t, err)
	return applier, registry, &requests
}

func TestWhereTheAPIServerHasNoTime(t *testing.T) {
	t.Parallel()
	target := apply.Target{Name: "settings"}
	target.Resource.Version, target.Resource.Resource = "v1", "configmaps"
	t.Run("fewer are sent at once, and none is left out", func(t *testing.T) {
		t.Parallel()
		applier, registry, requests := shortOfTime(t, func(request int32) int {
			if request > 8 && request <= 12 {
				return http.StatusTooManyRequests
			}
			return 0
		})
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				if _, err := applier.Get(t.Context(), target); err != nil {
					t.Errorf("got %v, want an answer in the end", err)
				}
			})
		}
		group.Wait()
		if got := requests.Load(); got != 20 {
			t.Errorf("%d requests, want each one, and the refused ones again", got)
		}
		want := "# HELP mainstay_apply_throttled_total Requests for declared objects that the API server had no time for, and that were sent again.\n" +
			"# TYPE mainstay_apply_throttled_total counter\nmainstay_apply_throttled_total 4\n"
		must(t, testutil.GatherAndCompare(registry, strings.NewReader(want), "mainstay_apply_throttled_total"))
		families, err := registry.Gather()
		must(t, err)
		for _, f := range families {
			if f.GetName() == "mainstay_apply_parallelism" {
				if got := f.GetMetric()[0].GetGauge().GetValue(); got > 9 || got < 1 {
					t.Errorf("%v at once, want about half of 16", got)
				}
			}
		}
	})
	t.Run("nothing is waited for longer than the caller does", func(t *testing.T) {
		t.Parallel()
		applier, _, _ := shortOfTime(t, func(int32) int { return http.StatusTooManyRequests })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := applier.Get(ctx, target)
		if !errors.Is(err, context.DeadlineExceeded) || !apierrors.IsTooManyRequests(err) {
			t.Errorf("got %v, want both that time is up and what the API server said", err)
		}
	})
	t.Run("an error that trying again does not mend is answered at once", func(t *testing.T) {
		t.Parallel()
		applier, _, requests := shortOfTime(t, func(int32) int { return http.StatusForbidden })
		if raw, err := applier.Get(t.Context(), target); !apierrors.IsForbidden(err) || raw != nil {
			t.Errorf("got %s, %v, want an error alone", raw, err)
		}
		if got := requests.Load(); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}
