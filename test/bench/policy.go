// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func (b *bench) policy() error {
	if err := b.decisions(); err != nil {
		return err
	}
	return b.reload()
}

// decisions measures the judge alone, with 20 policies in one source and in 20.
func (b *bench) decisions() error {
	change, err := refusedChange()
	if err != nil {
		return err
	}
	for _, m := range []struct {
		what              string
		objects, separate bool
	}{
		{"Decide, refused, 20 policies that read the change", false, false},
		{"Decide, refused, 20 policies, half read the object", true, false},
		{"Decide, refused, the same in 20 sources", true, true},
	} {
		engine, err := newEngine(b.ctx, nil)
		if err != nil {
			return err
		}
		what, modules := m.what, policies(20, m.objects)
		if m.separate {
			for file, text := range modules {
				if _, err := engine.Load(b.ctx, policy.Source{Key: "changepolicy/mainstay-system/" + file, Modules: map[string]string{file: text}}); err != nil {
					return err
				}
			}
		} else if _, err := engine.Load(b.ctx, policy.Source{Key: "changepolicy/mainstay-system/bench", Modules: modules}); err != nil {
			return err
		}
		if d := engine.Decide(b.ctx, change); d.Verdict == policy.Permit {
			return fmt.Errorf("permitted: %+v", d)
		}
		stop, err := b.profiled(what)
		if err != nil {
			return err
		}
		r := testing.Benchmark(func(t *testing.B) {
			t.ReportAllocs()
			for t.Loop() {
				engine.Decide(b.ctx, change)
			}
		})
		stop()
		b.report.add(row{Part: "policy", What: what, Result: fmt.Sprintf("%.1f µs, %d allocations", float64(r.NsPerOp())/1e3, r.AllocsPerOp())})
	}
	return nil
}

// refusedChange is what the webhook makes of the review that is refused.
func refusedChange() (*policy.Change, error) {
	declared, _, refused := reviews()
	index := ownership.NewIndex()
	e := record(declared)
	if err := index.Replace(head(), []*ownership.Entry{e}); err != nil {
		return nil, err
	}
	r, _ := index.Lookup(e.ID)
	root, err := fastjson.ParseBytes(refused)
	if err != nil {
		return nil, err
	}
	before, after := root.Get("request", "oldObject"), root.Get("request", "object")
	return &policy.Change{
		Origin: policy.OriginRequest, Operation: policy.Update,
		User: &policy.User{Username: "alice", Groups: []string{"developers", "system:authenticated"}},
		Kind: e.GVK(), Resource: e.GVR(), Object: after, OldObject: before,
		Fields: policy.Fields(fieldset.Compare(before, after, r.AppliedSet, nil), r), Record: r, Time: time.Now(),
	}, nil
}

// reload measures how long it takes until 100 changed modules judge.
func (b *bench) reload() error {
	engine, err := newEngine(b.ctx, nil)
	if err != nil {
		return err
	}
	modules := policies(100, true)
	var took times
	for i := range 7 {
		modules["team0/team0.rego"] += fmt.Sprintf("\n# change %d\n", i)
		start := time.Now()
		if _, err := engine.Load(b.ctx, policy.Source{Key: "changepolicy/mainstay-system/bench", Modules: modules}); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	b.report.add(row{
		Part: "policy", What: "reload of 100 modules", Result: fmt.Sprintf("p50 %.0f ms, worst of 7 %.0f ms", float64(took.p50())/1e6, float64(took.at(1))/1e6),
		Budget: "≤ 300 ms", Met: new(took.p50() <= 300*time.Millisecond),
	})
	return nil
}

// profiled writes profiles of what runs until stop is called, where that was
// asked for.
func (b *bench) profiled(what string) (stop func(), err error) {
	if b.profile == "" {
		return func() {}, nil
	}
	name := filepath.Join(b.profile, strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(what))
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return nil, err
	}
	cpu, err := os.Create(name + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = cpu.Close()
		if memory, err := os.Create(name + ".mem"); err == nil {
			_ = pprof.Lookup("allocs").WriteTo(memory, 0)
			_ = memory.Close()
		}
	}, nil
}
