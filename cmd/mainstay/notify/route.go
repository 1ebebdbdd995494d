// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mainstay-gitops/mainstay/config"
)

// route gathers notices and sends messages to one receiver.
type route struct {
	config.Route
	options               *Options
	messages              chan *Message
	sent, failed, dropped prometheus.Counter
	// groups is the sorter's alone.
	groups map[groupKey]*group
}

type groupKey struct{ gitSync, actor string }

// group is a message that is being gathered. It stays for a window after it was
// sent, so that a second critical notice does not go out at once as well.
type group struct {
	message *Message // nil: nothing waits
	due     time.Time
	sent    bool
}

// sendTimeout bounds one attempt.
const sendTimeout = 15 * time.Second

// parting is what there is to send what waits when the process ends.
const parting = 3 * time.Second

// gather adds a notice to the message it belongs to.
func (r *route) gather(notice Notice, now time.Time) {
	key := groupKey{notice.sync(), notice.Actor}
	g := r.groups[key]
	if g == nil {
		g = &group{due: now.Add(r.options.Config.Window.Duration)}
		r.groups[key] = g
	}
	if notice.Severity == config.SeverityCritical && !g.sent {
		g.due = now
	}
	if g.message == nil {
		g.message = &Message{Cluster: r.options.ClusterName, GitSync: key.gitSync, Actor: key.actor}
	}
	g.message.add(notice)
}

// flush hands over the messages that are due, all where now is zero, and
// returns when the next one is.
func (r *route) flush(now time.Time) time.Time {
	next := now.Add(time.Hour)
	for key, g := range r.groups {
		if !now.IsZero() && g.due.After(now) {
			if g.due.Before(next) {
				next = g.due
			}
			continue
		}
		if g.message == nil {
			delete(r.groups, key)
			continue
		}
		r.hand(g.message)
		g.message, g.sent, g.due = nil, true, now.Add(r.options.Config.Window.Duration)
		if g.due.Before(next) {
			next = g.due
		}
	}
	return next
}

func (r *route) hand(m *Message) {
	select {
	case r.messages <- m:
	default:
		r.dropped.Inc()
	}
}

// work sends one message after the other until there are no more. Once ctx has
// ended each is tried once, within the parting time.
func (r *route) work(ctx context.Context) {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	context.AfterFunc(ctx, func() { time.AfterFunc(parting, cancel) })
	for m := range r.messages {
		if err := r.deliver(ctx, last, m); err != nil {
			r.failed.Inc()
			r.options.Error(err)
			continue
		}
		r.sent.Inc()
	}
}

// deliver sends a message, again after each pause while ctx has not ended.
func (r *route) deliver(ctx, last context.Context, m *Message) error {
	for attempt := 0; ; attempt++ {
		err := r.try(last, m)
		if err == nil {
			return nil
		}
		if attempt == len(r.options.Pauses) || ctx.Err() != nil {
			return fmt.Errorf("notify route %s: gave up after %d attempts: %w", r.Name, attempt+1, err)
		}
		pause := r.options.Pauses[attempt]
		select {
		case <-time.After(pause + rand.N(pause/4+1)): //nolint:gosec // Only to spread attempts.
		case <-ctx.Done():
		}
	}
}

func (r *route) try(ctx context.Context, m *Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	secret, err := r.options.Secret(ctx, r.SecretRef.Name)
	if err != nil {
		return fmt.Errorf("read secret %s: %w", r.SecretRef.Name, err)
	}
	to, err := newAddress(r.Route, secret)
	if err != nil {
		return err
	}
	return to.conceal(to.send(ctx, m))
}
