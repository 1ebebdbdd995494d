// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

const (
	// maxBody bounds a payload: one that is longer is of thousands of files, and
	// seen when the interval is over.
	maxBody = 4 << 20
	// perSecond and burst bound how many requests are looked at, atOnce how
	// many are read at the same time.
	perSecond, burst, atOnce = 10, 50, 4
	// answerWithin bounds one request.
	answerWithin = 10 * time.Second
	path         = "/push"
)

// Options of a Receiver.
type Options struct {
	// BindAddress is where it listens, host:port or :port. Required.
	BindAddress string
	// Client lists GitSyncs and writes their status. Required.
	Client client.Client
	// Secret returns what the git servers sign with, read anew for each
	// request, so that it can be changed. Required.
	Secret func(ctx context.Context) ([]byte, error)
	// Error is told what kept a push from being passed on. Required.
	Error func(err error)
}

// Receiver listens for pushes.
type Receiver struct {
	o     Options
	limit *rate.Limiter
	busy  chan struct{}
}

// New checks the options and makes a Receiver that Start runs.
func New(o Options) (*Receiver, error) {
	for name, missing := range map[string]bool{
		"BindAddress": o.BindAddress == "", "Client": o.Client == nil, "Secret": o.Secret == nil, "Error": o.Error == nil,
	} {
		if missing {
			return nil, fmt.Errorf("receive: Options.%s is required", name)
		}
	}
	return &Receiver{o: o, limit: rate.NewLimiter(perSecond, burst), busy: make(chan struct{}, atOnce)}, nil
}

// NeedLeaderElection tells the manager that every replica listens.
func (r *Receiver) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (r *Receiver) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.o.BindAddress)
	if err != nil {
		return fmt.Errorf("listen for pushes: %w", err)
	}
	server := &http.Server{
		Handler: r, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: answerWithin, WriteTimeout: 2 * answerWithin,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen for pushes: %w", err)
	}
	return nil
}

// ServeHTTP takes one push. Who is not genuine learns nothing but that.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithTimeout(req.Context(), answerWithin)
	defer cancel()
	switch {
	case req.URL.Path != path:
		http.Error(w, "POST to "+path, http.StatusNotFound)
		return
	case req.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST to "+path, http.StatusMethodNotAllowed)
		return
	case !r.limit.Allow():
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	}
	select {
	case r.busy <- struct{}{}:
		defer func() { <-r.busy }()
	case <-ctx.Done():
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		http.Error(w, "the body is too long, or cut off", http.StatusRequestEntityTooLarge)
		return
	}
	secret, err := r.o.Secret(ctx)
	if err != nil {
		r.o.Error(err)
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	if !genuine(req.Header, body, secret) {
		http.Error(w, "the signature does not fit", http.StatusUnauthorized)
		return
	}
	p, err := parse(body)
	if err != nil {
		http.Error(w, "no push: send JSON", http.StatusBadRequest)
		return
	}
	n, err := r.pass(ctx, p)
	if err != nil {
		r.o.Error(err)
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "%d GitSyncs look now\n", n)
}

// pass marks the GitSyncs that a push concerns.
func (r *Receiver) pass(ctx context.Context, p *push) (marked int, err error) {
	var list v1alpha1.GitSyncList
	if err := r.o.Client.List(ctx, &list); err != nil {
		return 0, fmt.Errorf("list gitsyncs: %w", err)
	}
	now := metav1.NowMicro()
	for i := range list.Items {
		gs := &list.Items[i]
		if !p.concerns(&gs.Spec.Source) {
			continue
		}
		before := gs.DeepCopy()
		gs.Status.LastPush = &now
		if err := r.o.Client.Status().Patch(ctx, gs, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
			return marked, fmt.Errorf("mark gitsync %s/%s: %w", gs.Namespace, gs.Name, err)
		}
		marked++
	}
	return marked, nil
}
