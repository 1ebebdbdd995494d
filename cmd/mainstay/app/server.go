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

// drain is how long requests that are under way may take after the end was
// asked for. The API server waits at most 10 seconds for any of them.
const drain = 10 * time.Second

// server serves admission over TLS.
type server struct {
	address string
	http    *http.Server
	serving atomic.Bool
}

// lines logs what net/http reports: mostly handshakes that came to nothing.
type lines struct{ log logr.Logger }

func (l lines) Write(p []byte) (int, error) {
	l.log.Info("connection failed", "why", string(bytes.TrimSpace(p)))
	return len(p), nil
}

func newServer(address string, handler http.Handler, tlsConfig *tls.Config, logger logr.Logger) *server {
	mux := http.NewServeMux()
	mux.Handle("/admit/", handler)
	return &server{address: address, http: &http.Server{
		Handler:           mux,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		IdleTimeout:       5 * time.Minute,
		ErrorLog:          log.New(lines{logger}, "", 0),
	}}
}

// NeedLeaderElection tells the manager that every replica serves admission.
func (s *server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends, then lets requests that are under way finish.
func (s *server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for admission requests: %w", err)
	}
	s.serving.Store(true)
	failed := make(chan error, 1)
	go func() { failed <- s.http.ServeTLS(listener, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve admission requests: %w", err)
	case <-ctx.Done():
	}
	s.serving.Store(false)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return fmt.Errorf("finish admission requests: %w", err)
	}
	return nil
}

func (s *server) ready(*http.Request) error {
	if !s.serving.Load() {
		return errors.New("admission is not served")
	}
	return nil
}
