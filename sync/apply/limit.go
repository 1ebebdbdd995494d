// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// brokenRetries bounds how often a request is sent again that the API server
// could not serve; one that it had no time for is sent until its context ends.
const brokenRetries = 10

// limiter bounds the requests that are under way, and adapts to the API server:
// where it has no time for one, half as many are sent at once from then on, and
// one more with each round that it serves.
type limiter struct {
	mu       sync.Mutex
	limit    float64
	most     float64
	inFlight int
	waiting  []chan struct{}
	// cut is when the limit was halved: refusals of requests that were under way
	// by then say nothing new.
	cut time.Time

	parallelism prometheus.Gauge
	throttled   prometheus.Counter
}

func newLimiter(most int, r prometheus.Registerer) *limiter {
	f := promauto.With(r)
	l := &limiter{
		limit: float64(most), most: float64(most),
		parallelism: f.NewGauge(prometheus.GaugeOpts{
			Name: "mainstay_apply_parallelism",
			Help: "Requests for declared objects that may be under way at once: less than the most while the API server is short of time.",
		}),
		throttled: f.NewCounter(prometheus.CounterOpts{
			Name: "mainstay_apply_throttled_total",
			Help: "Requests for declared objects that the API server had no time for, and that were sent again.",
		}),
	}
	l.parallelism.Set(l.limit)
	return l
}

// enter waits until one more request may be sent.
func (l *limiter) enter(ctx context.Context) error {
	l.mu.Lock()
	if l.inFlight < int(l.limit) && len(l.waiting) == 0 {
		l.inFlight++
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.waiting {
		if w == turn {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return ctx.Err()
		}
	}
	l.inFlight-- // its turn came at the same moment
	l.next()
	return ctx.Err()
}

// leave takes note of how a request ended that was sent at a time.
func (l *limiter) leave(sent time.Time, throttled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !throttled:
		// A limit that nobody reaches says nothing about what can be served.
		if l.inFlight >= int(l.limit) {
			l.limit = min(l.limit+1/l.limit, l.most)
		}
	case sent.After(l.cut):
		l.limit, l.cut = max(l.limit/2, 1), time.Now()
	}
	if throttled {
		l.throttled.Inc()
	}
	l.inFlight--
	l.parallelism.Set(l.limit)
	l.next()
}

// next lets those in who wait. It must be called with mu held.
func (l *limiter) next() {
	for len(l.waiting) > 0 && l.inFlight < int(l.limit) {
		l.inFlight++
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
	}
}

// do sends a request, and again as long as the API server has no time for it:
// no object is left out because others want something, too. make is called for
// each try. An error comes without a body.
func (a *Applier) do(ctx context.Context, make func() *rest.Request) ([]byte, error) {
	for broken := 0; ; {
		if err := a.limit.enter(ctx); err != nil {
			return nil, err
		}
		sent := time.Now()
		raw, err := make().MaxRetries(0).Do(ctx).Raw()
		wait, busy, again := later(err)
		a.limit.leave(sent, busy)
		if !busy {
			broken++
		}
		switch {
		case err == nil:
			return raw, nil
		case !again, broken > brokenRetries:
			return nil, explain(raw, err)
		}
		timer := time.NewTimer(wait + rand.N(wait/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(explain(raw, err), ctx.Err())
		}
	}
}

// later tells whether the API server asks to come again and when, and whether
// it does so because it is busy.
func later(err error) (wait time.Duration, busy, again bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return 0, false, false
	}
	s := status.Status()
	if s.Details != nil {
		wait = time.Duration(s.Details.RetryAfterSeconds) * time.Second
	}
	busy = s.Code == http.StatusTooManyRequests
	again = busy || s.Code >= http.StatusInternalServerError && wait > 0
	return max(wait, time.Second), busy, again
}
