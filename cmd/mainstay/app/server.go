// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

// underWay is how long requests that are under way may take when the listener
// has closed: the longest time that an API server waits for any of them.
const underWay = 30 * time.Second

// server serves admission over TLS, until it is drained.
type server struct {
	address          string
	http             *http.Server
	serving, leaving atomic.Bool
}

// lines logs what net/http reports: mostly handshakes that came to nothing.
type lines struct{ log logr.Logger }

func (l lines) Write(p []byte) (int, error) {
	l.log.Info("connection failed", "why", string(bytes.TrimSpace(p)))
	return len(p), nil
}

func newServer(address string, handler http.Handler, tlsConfig *tls.Config, logger logr.Logger) *server {
	s := &server{address: address}
	mux := http.NewServeMux()
	mux.HandleFunc("/admit/", func(w http.ResponseWriter, r *http.Request) {
		if s.leaving.Load() {
			// The client's next connection goes to another replica. To close the
			// idle ones from here would race with requests that are being sent.
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})
	s.http = &http.Server{
		Handler:           mux,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		// Longer than clients keep a connection that is idle, so that they are
		// the ones to close it.
		IdleTimeout: 5 * time.Minute,
		ErrorLog:    log.New(lines{logger}, "", 0),
	}
	return s
}

// NeedLeaderElection tells the manager that every replica serves admission.
func (s *server) NeedLeaderElection() bool { return false }

// Start serves until drain has closed the listener, and then until ctx ends.
// If ctx ends first, requests that are under way are cut off.
func (s *server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for admission requests: %w", err)
	}
	s.serving.Store(true)
	defer s.serving.Store(false)
	failed := make(chan error, 1)
	go func() { failed <- s.http.ServeTLS(listener, "", "") }()
	select {
	case err := <-failed:
		if !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve admission requests: %w", err)
		}
	case <-ctx.Done():
	}
	<-ctx.Done()
	return s.http.Close()
}

// drain ends serving without dropping a request: the replica is no longer ready
// at once, goes on accepting requests for delay, or until ctx ends, then stops
// listening and returns when all requests are answered.
func (s *server) drain(ctx context.Context, delay time.Duration) error {
	s.leaving.Store(true)
	if s.serving.Load() {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(ctx, underWay)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return fmt.Errorf("finish admission requests: %w", err)
	}
	return nil
}

func (s *server) ready(*http.Request) error {
	switch {
	case s.leaving.Load():
		return errors.New("this replica is about to end")
	case !s.serving.Load():
		return errors.New("admission is not served")
	}
	return nil
}
