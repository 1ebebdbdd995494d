// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/mainstay-gitops/mainstay/config"
)

// newLeader makes the manager of what the leader alone does. It has a life of
// its own, so that a replica that was told to end gives the lease back at once
// and still answers requests. It shares what the replica has cached.
func newLeader(replica ctrl.Manager, restConfig *rest.Config, cfg *config.Config, log logr.Logger) (ctrl.Manager, error) {
	grace := gracePeriod
	leader, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                  replica.GetScheme(),
		Logger:                  log,
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		LeaderElection:          cfg.LeaderElection.Enabled,
		LeaderElectionID:        "mainstay",
		LeaderElectionNamespace: cfg.Namespace,
		// A leader that ends lets the next one begin at once.
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       &grace,
		NewCache:                      func(*rest.Config, cache.Options) (cache.Cache, error) { return shared{replica.GetCache()}, nil },
		MapperProvider:                func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return replica.GetRESTMapper(), nil },
	})
	if err != nil {
		return nil, fmt.Errorf("set up the leader's manager: %w", err)
	}
	return leader, nil
}

// shared is a cache that another manager starts.
type shared struct{ cache.Cache }

func (shared) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// leading tells whether this replica leads.
type leading struct{ now atomic.Bool }

// NeedLeaderElection tells the manager to start it with leadership.
func (l *leading) NeedLeaderElection() bool { return true }

// Start is leadership: it ends with ctx.
func (l *leading) Start(ctx context.Context) error {
	l.now.Store(true)
	<-ctx.Done()
	l.now.Store(false)
	return nil
}
