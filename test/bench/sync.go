// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

func (b *bench) sync() error {
	if err := b.compare(); err != nil {
		return err
	}
	if err := b.fetch(); err != nil {
		return err
	}
	for _, f := range []folders{overlays(), releases()} {
		if err := b.rerender(f); err != nil {
			return err
		}
	}
	for _, kind := range []applied{
		{"ConfigMap", "/api/v1", "configmaps", b.first, configMap},
		{"Deployment", "/apis/apps/v1", "deployments", b.first / 4, func(namespace string, i int) object {
			o := deployment(namespace, fmt.Sprintf("web-%05d", i), 5)
			set(o, object{"app.kubernetes.io/part-of": "shop"}, "metadata", "labels") // without Mainstay's own
			return o
		}},
	} {
		if err := b.firstApply(kind); err != nil {
			return err
		}
	}
	if err := b.sizes(few); err != nil {
		return err
	}
	return b.revert()
}

// compare measures how fast live objects are compared with what git says of
// them, from the bytes that a watch delivers.
func (b *bench) compare() error {
	const objects = 10000
	for _, kind := range []struct {
		what string
		make func(i int) object
	}{
		{"10,000 ConfigMaps compared", func(i int) object { return configMap("shop", i) }},
		{"10,000 Deployments compared, with a controller's annotation", func(i int) object {
			return deployment("shop", fmt.Sprintf("web-%d", i), 5)
		}},
	} {
		index := ownership.NewIndex()
		entries := make([]*ownership.Entry, objects)
		alive := make([][]byte, objects)
		for i := range objects {
			o := kind.make(i)
			entries[i], alive[i] = record(o), encode(live(o))
		}
		if err := index.Replace(head(), entries); err != nil {
			return err
		}
		stop, err := b.profiled(kind.what)
		if err != nil {
			return err
		}
		var took times
		var liveParser, baselineParser fastjson.Parser // as the guard does
		for range 3 {
			start := time.Now()
			for i, e := range entries {
				object, err := liveParser.ParseBytes(alive[i])
				if err != nil {
					return err
				}
				r, _ := index.Lookup(e.ID)
				baseline, err := drift.Baseline(&baselineParser, r)
				if err != nil {
					return err
				}
				fields, err := drift.Compare(baseline, object, r)
				if err != nil {
					return err
				}
				for _, f := range fields {
					if f.Declared { // What a controller added is a difference.
						return fmt.Errorf("%s differs in %s", e.ID, f.Path)
					}
				}
			}
			took = append(took, time.Since(start))
		}
		stop()
		b.report.add(row{
			Part: "sync", What: kind.what, Result: fmt.Sprintf("p50 %.2f s (%.1f µs each)", took.p50().Seconds(), float64(took.p50().Microseconds())/objects),
			Budget: "≤ 0.5 s", Met: new(took.p50() <= 500*time.Millisecond),
		})
	}
	return nil
}

// plain is a client as anyone would make it, with nothing of Mainstay's.
func (b *bench) plain() (rest.Interface, error) {
	cluster, err := b.server()
	if err != nil {
		return nil, err
	}
	config := cluster.RESTConfig(controlplane.Admin)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return apply.ClientFor(config, client)
}

// applied is what a first apply applies.
type applied struct {
	kind, api, resource string
	count               int
	make                func(namespace string, i int) object
}

// firstApply applies the same objects plainly and by the loop, in turns.
func (b *bench) firstApply(kind applied) error {
	plain, err := b.plain()
	if err != nil {
		return err
	}
	var raw, phase, whole, again times
	var dryRuns, writes int
	for round := range b.rounds {
		b.say("first apply of %d %s, round %d of %d", kind.count, kind.resource, round+1, b.rounds)
		namespace := fmt.Sprintf("plain-%s-%d", kind.resource, round)
		if err := create(b.ctx, plain, namespace); err != nil {
			return err
		}
		plainly := func() error {
			took, err := b.applyPlainly(plain, namespace, kind)
			raw = append(raw, took)
			return err
		}
		// Who comes second has the larger database: take turns.
		if round%2 == 0 {
			if err := plainly(); err != nil {
				return err
			}
		}
		s, err := b.newStage(fmt.Sprintf("sync-%s-%d", kind.resource, round))
		if err != nil {
			return err
		}
		if err := s.commit(kind.count, kind.make); err != nil {
			return err
		}
		took, err := s.sync()
		if err != nil {
			return err
		}
		if round%2 == 1 {
			if err := plainly(); err != nil {
				return err
			}
		}
		if s.counter.writes != kind.count {
			return fmt.Errorf("%d objects were written, want %d", s.counter.writes, kind.count)
		}
		whole, phase = append(whole, took), append(phase, s.counter.last.Sub(s.counter.first))
		for i := range 3 {
			s.counter.reset()
			if err := s.request(fmt.Sprint(i)); err != nil {
				return err
			}
			if took, err = s.sync(); err != nil {
				return err
			}
			again = append(again, took)
			dryRuns, writes = dryRuns+s.counter.dryRuns, writes+s.counter.writes
		}
		if err := s.close(); err != nil {
			return err
		}
	}
	rate := func(t times) float64 { return float64(kind.count) / t.p50().Seconds() }
	peer := fmt.Sprintf("raw %.0f objects/s", rate(raw))
	what := fmt.Sprintf("first apply of %d %ss, ", kind.count, kind.kind)
	share := rate(phase) / rate(raw)
	b.report.add(row{
		Part: "sync", What: what + "apply phase", Result: fmt.Sprintf("%.0f objects/s", rate(phase)), Peer: peer,
		Ratio: fmt.Sprintf("%.2f × raw", share), Budget: "≥ 0.8 × raw", Met: new(share >= 0.8),
	})
	share = rate(whole) / rate(raw)
	b.report.add(row{
		Part: "sync", What: what + "fetch to status", Result: fmt.Sprintf("%.0f objects/s", rate(whole)), Peer: peer,
		Ratio: fmt.Sprintf("%.2f × raw", share), Budget: "≥ 0.4 × raw", Met: new(share >= 0.4),
	})
	b.report.add(row{
		Part: "sync", What: fmt.Sprintf("resync of %d %ss, nothing changed", kind.count, kind.kind),
		Result: fmt.Sprintf("%.0f ms; %d writes, %d dry-runs", float64(again.p50())/1e6, writes, dryRuns),
		Budget: "no write, no dry-run", Met: new(writes == 0 && dryRuns == 0),
	})
	return nil
}

// applyPlainly is the peer: server-side apply, 32 in parallel, nothing else.
func (b *bench) applyPlainly(plain rest.Interface, namespace string, kind applied) (time.Duration, error) {
	bodies, paths := make([][]byte, kind.count), make([]string, kind.count)
	for i := range bodies {
		o := kind.make(namespace, i)
		metadata, _ := o["metadata"].(object)
		bodies[i], paths[i] = encode(o), fmt.Sprintf("%s/namespaces/%s/%s/%s", kind.api, namespace, kind.resource, metadata["name"])
	}
	start := time.Now()
	group, ctx := errgroup.WithContext(b.ctx)
	group.SetLimit(32)
	for i, body := range bodies {
		group.Go(func() error {
			return applyAt(ctx, plain, paths[i], "plain", body)
		})
	}
	err := group.Wait()
	return time.Since(start), err
}

func applyOne(ctx context.Context, plain rest.Interface, namespace, name, manager string, body []byte) error {
	return applyAt(ctx, plain, "/api/v1/namespaces/"+namespace+"/configmaps/"+name, manager, body)
}

func applyAt(ctx context.Context, plain rest.Interface, path, manager string, body []byte) error {
	return plain.Patch(types.ApplyPatchType).AbsPath(path).
		Param("fieldManager", manager).Param("force", "true").Body(body).Do(ctx).Error()
}

func create(ctx context.Context, plain rest.Interface, namespace string) error {
	body := encode(&corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: namespace},
	})
	return plain.Post().AbsPath("/api/v1/namespaces").Body(body).Do(ctx).Error()
}
