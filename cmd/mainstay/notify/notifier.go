// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config"
)

// Options of a Notifier.
type Options struct {
	// Config says who hears of what.
	Config config.Notifications
	// ClusterName is in each message.
	ClusterName string
	// Secret reads a Secret of Mainstay's namespace. Required where there are
	// routes.
	Secret func(ctx context.Context, name string) (map[string][]byte, error)
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// Pauses are those between the attempts to send one message; nil: 1s, 5s,
	// 30s, 2m, 10m.
	Pauses []time.Duration
	// Error is told what could not be sent; nil ignores it.
	Error func(error)
}

// Notifier takes notices and sends messages. It is safe for concurrent use.
type Notifier struct {
	options Options
	results *prometheus.CounterVec
	queue   chan Notice
	once    sync.Once
	// next is a configuration that the sorter has not taken over yet, and wanted
	// tells that the one before or after has routes.
	next   chan config.Notifications
	wanted atomic.Bool
	// routes and told are the sorter's alone once it runs, as is Options.Config.
	routes []*route
	told   map[told]time.Time
}

// told is what was told of: the same is not told again for a while.
type told struct {
	gitSync           types.NamespacedName
	kind, actor, text string
}

// quiet is how long the same is not told again, and maxTold how many things are
// remembered for that.
const (
	quiet   = time.Hour
	maxTold = 4096
)

// New checks the options. Nothing is sent before Start.
func New(o Options) (*Notifier, error) {
	if len(o.Config.Routes) > 0 && o.Secret == nil {
		return nil, errors.New("notify: Options.Secret is required where there are routes")
	}
	if o.Pauses == nil {
		o.Pauses = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}
	}
	if o.Error == nil {
		o.Error = func(error) {}
	}
	results, err := newMetrics(o.Registerer, o.Config.Routes)
	if err != nil {
		return nil, err
	}
	n := &Notifier{
		options: o, results: results, queue: make(chan Notice, max(o.Config.Queue, 1)), told: map[told]time.Time{},
		next: make(chan config.Notifications, 1),
	}
	for _, r := range o.Config.Routes {
		n.routes = append(n.routes, n.route(r))
	}
	n.wanted.Store(len(n.routes) > 0)
	return n, nil
}

// Configure has another configuration followed from now on. What routes have that
// stay as they are goes on; of the others what was gathered is sent first. The
// room for notices that wait to be sorted stays what it was at the start.
func (n *Notifier) Configure(c config.Notifications) {
	for {
		select {
		case n.next <- c:
			if len(c.Routes) > 0 {
				n.wanted.Store(true)
			}
			return
		case <-n.next: // nobody has taken it over yet, and nobody has to
		}
	}
}

// route makes one that nobody works for yet.
func (n *Notifier) route(r config.Route) *route {
	return &route{
		Route: r, messages: make(chan *Message, max(n.options.Config.Queue, 1)), groups: map[groupKey]*group{}, options: &n.options,
		sent: n.results.WithLabelValues(r.Name, resultSent), failed: n.results.WithLabelValues(r.Name, resultFailed),
		dropped: n.results.WithLabelValues(r.Name, resultDropped),
	}
}

// Tell takes a notice and returns at once. Without routes it does nothing.
func (n *Notifier) Tell(notice Notice) {
	if !n.wanted.Load() {
		return
	}
	if notice.Time.IsZero() {
		notice.Time = time.Now()
	}
	select {
	case n.queue <- notice:
	default:
		n.results.WithLabelValues("", resultDropped).Inc()
	}
}

// Notify is Tell for packages that know nothing of this one: they declare an
// interface of this one method. severity is critical, warning or info, and kind
// the reason of an Event. An unknown severity counts as a warning.
func (n *Notifier) Notify(gitSync types.NamespacedName, severity, kind, actor, text string, fields map[string]string) {
	s := config.Severity(severity)
	if rank(s) == 0 {
		s = config.SeverityWarning
	}
	n.Tell(Notice{GitSync: gitSync, Severity: s, Kind: kind, Actor: actor, Text: text, Fields: fields})
}

// NeedLeaderElection tells that every replica tells of what it decided.
func (n *Notifier) NeedLeaderElection() bool { return false }

// Start sorts and sends until ctx ends, and then tries once to send what waits,
// for at most the parting time.
func (n *Notifier) Start(ctx context.Context) error {
	started := false
	n.once.Do(func() { started = true })
	if !started {
		return errors.New("notify: started twice")
	}
	var workers sync.WaitGroup
	work := func(r *route) { workers.Go(func() { r.work(ctx) }) }
	for _, r := range n.routes {
		work(r)
	}
	n.sort(ctx, work)
	for _, r := range n.routes {
		close(r.messages)
	}
	workers.Wait()
	return nil
}

// adopt takes over a configuration, and has work called for the routes that are
// new.
func (n *Notifier) adopt(c config.Notifications, work func(*route)) {
	n.options.Config = c
	var routes []*route
	for _, wanted := range c.Routes {
		same := slices.IndexFunc(n.routes, func(r *route) bool { return reflect.DeepEqual(r.Route, wanted) })
		if same >= 0 {
			routes = append(routes, n.routes[same])
			n.routes = slices.Delete(n.routes, same, same+1)
			continue
		}
		r := n.route(wanted)
		work(r)
		routes = append(routes, r)
	}
	for _, gone := range n.routes {
		gone.flush(time.Time{})
		close(gone.messages)
		if !slices.ContainsFunc(routes, func(r *route) bool { return r.Name == gone.Name }) {
			n.results.DeletePartialMatch(prometheus.Labels{"route": gone.Name})
		}
	}
	n.routes = routes
	n.wanted.Store(len(routes) > 0 || len(n.next) > 0)
}

// sort gives each notice to the routes that take it, and messages that are due
// to the workers.
func (n *Notifier) sort(ctx context.Context, work func(*route)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(n.flush(time.Now())))
		select {
		case notice := <-n.queue:
			n.distribute(notice)
			continue
		case c := <-n.next:
			n.adopt(c, work)
			continue
		case <-timer.C:
			continue
		case <-ctx.Done():
		}
		for {
			select {
			case notice := <-n.queue:
				n.distribute(notice)
				continue
			default:
			}
			n.flush(time.Time{})
			return
		}
	}
}

func (n *Notifier) distribute(notice Notice) {
	if !n.fresh(notice, time.Now()) {
		return
	}
	for _, r := range n.routes {
		if r.Takes(notice.sync(), notice.Severity, notice.Kind) {
			r.gather(notice, time.Now())
		}
	}
}

// flush hands over what is due, everything where now is zero, and returns when
// to come again.
func (n *Notifier) flush(now time.Time) time.Time {
	next := now.Add(time.Hour)
	for _, r := range n.routes {
		if due := r.flush(now); due.Before(next) {
			next = due
		}
	}
	return next
}

// fresh tells whether a notice is worth telling. What repeats within a window is
// told with a count; what goes on for longer, once an hour.
func (n *Notifier) fresh(notice Notice, now time.Time) bool {
	key := told{notice.GitSync, notice.Kind, notice.Actor, notice.Text}
	if last, ok := n.told[key]; ok && now.Sub(last) >= n.options.Config.Window.Duration && now.Sub(last) < quiet {
		return false
	}
	if _, ok := n.told[key]; !ok && len(n.told) >= maxTold {
		maps.DeleteFunc(n.told, func(_ told, last time.Time) bool { return now.Sub(last) >= quiet })
		if len(n.told) >= maxTold {
			clear(n.told) // a storm: telling twice is better than growing
		}
	}
	if last, ok := n.told[key]; !ok || now.Sub(last) >= quiet {
		n.told[key] = now
	}
	return true
}
