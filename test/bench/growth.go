// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"time"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// growth measures whether a decision costs more where more is declared: more
// objects of one kind, and more kinds. All handlers are asked in turns.
func (b *bench) growth() error {
	type size struct {
		what           string
		objects, kinds int
		handler        *webhook.Handler
		perEntry       uint64
		quiet, refused times
	}
	groups := [][]*size{
		{{what: "100 objects", objects: 100, kinds: 1}, {what: "10,000 objects", objects: 10000, kinds: 1}, {what: "100,000 objects", objects: 100000, kinds: 1}},
		{{what: "1 kind", objects: 1000, kinds: 1}, {what: "100 kinds", objects: 1000, kinds: 100}, {what: "1,000 kinds", objects: 1000, kinds: 1000}},
	}
	_, quiet, refused := reviews()
	for _, group := range groups {
		for _, s := range group {
			b.say("declaring %s", s.what)
			before := inUse()
			entries := many(s.objects, s.kinds)
			index := ownership.NewIndex()
			if err := index.Replace(head(), entries); err != nil {
				return err
			}
			if s.perEntry = 0; inUse() > before {
				s.perEntry = (inUse() - before) / uint64(s.objects)
			}
			engine, err := newEngine(b.ctx, policies(20, true))
			if err != nil {
				return err
			}
			if s.handler, err = handlerOf(engine, index); err != nil {
				return err
			}
			if err := answers(s.handler, quiet, true); err != nil {
				return err
			}
			if err := answers(s.handler, refused, false); err != nil {
				return err
			}
		}
		const rounds, requests = 60, 50
		for i := range rounds {
			for n := range group {
				s := group[(i+n)%len(group)]
				s.quiet = append(s.quiet, each(s.handler, quiet, requests))
				s.refused = append(s.refused, each(s.handler, refused, requests))
			}
		}
		for _, s := range group {
			base := group[0]
			line := row{
				Part: "admission", What: "decision in process, " + s.what + " declared",
				Result: fmt.Sprintf("nothing held changes %s, refused %s; %.1f KB an entry", us(s.quiet.p50()), us(s.refused.p50()), float64(s.perEntry)/1e3),
			}
			if s != base {
				line.Peer = base.what
				line.Ratio = fmt.Sprintf("%.2f ×, %.2f ×", ratio(s.quiet.p50(), base.quiet.p50()), ratio(s.refused.p50(), base.refused.p50()))
			}
			b.report.add(line)
			s.handler = nil
		}
		runtime.GC()
	}
	return nil
}

// many are entries of small objects in as many kinds, and the Deployment that
// the reviews are about.
func many(objects, kinds int) []*ownership.Entry {
	declared, _, _ := reviews()
	entries := make([]*ownership.Entry, 0, objects)
	entries = append(entries, record(declared))
	for i := range objects - 1 {
		e := record(configMap("other", i))
		if kind := i % kinds; kind > 0 {
			e.Group, e.Kind, e.Resource = fmt.Sprintf("group%d.example.org", kind), fmt.Sprintf("Kind%d", kind), fmt.Sprintf("kinds%d", kind)
		}
		entries = append(entries, e)
	}
	return entries
}

// each is what one of a few requests takes.
func each(handler http.Handler, body []byte, requests int) time.Duration {
	one := asker(handler, body)
	start := time.Now()
	for range requests {
		one()
	}
	return time.Since(start) / time.Duration(requests)
}

// asker sends a review to a handler, as cheaply as that can be done.
func asker(handler http.Handler, body []byte) func() {
	reader := bytes.NewReader(body)
	r := httptest.NewRequest(http.MethodPost, webhook.Path(webhookToken, webhook.EntryHeld)+"?timeout=3s", nil)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength = int64(len(body))
	w := unread{http.Header{}}
	return func() {
		reader.Reset(body)
		r.Body = io.NopCloser(reader)
		handler.ServeHTTP(w, r)
	}
}

// inUse is what is in use after everything else was collected.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func us(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d)/1e3) }
