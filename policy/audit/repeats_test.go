// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// heard keeps what is said about decisions: "kind name: note" of each Event, and
// the notices.
type heard struct {
	mu      sync.Mutex
	events  []string
	notices []string
}

func (h *heard) Eventf(regarding, _ runtime.Object, _, reason, _, note string, args ...any) {
	ref := regarding.(*corev1.ObjectReference) //nolint:forcetypeassert // The recorder gives no other.
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, ref.Kind+" "+reason+" "+fmt.Sprintf(note, args...))
}

func (h *heard) Notify(sync types.NamespacedName, severity, kind, actor, text string, fields map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notices = append(h.notices, strings.Join([]string{sync.String(), severity, kind, actor, fields["decision"], text}, " "))
}

// of are the Events about one kind of object.
func (h *heard) of(kind string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.events), func(e string) bool { return !strings.HasPrefix(e, kind+" ") })
}

// decoded are the lines of a ledger.
func decoded(t *testing.T, ledger []byte) []Line {
	t.Helper()
	var out []Line
	for d := json.NewDecoder(bytes.NewReader(ledger)); ; {
		var line Line
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, line)
	}
}

func retrying() *policy.Change {
	c := change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5"))
	c.User.Username = "system:serviceaccount:keda:keda-operator"
	return c
}

func TestARetryingControllerIsOneLineOneEventAndOneNotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ledger bytes.Buffer
		said := new(heard)
		r, err := New(Options{Ledger: &ledger, Events: said, Notifier: said, Mask: mask})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Start(ctx) }()
		synctest.Wait()
		for i := range 540 { // nine minutes, each second
			d := refusal
			d.ID = fmt.Sprintf("id%d", i)
			r.Record(retrying(), d)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := len(said.of("Deployment")); got != 1 {
			t.Errorf("%d Events on the object, want 1: %v", got, said.of("Deployment"))
		}
		if got := len(said.of("GitSync")); got != 1 {
			t.Errorf("%d Events on the GitSync, want 1: %v", got, said.of("GitSync"))
		}
		if len(said.notices) != 1 || !strings.HasPrefix(said.notices[0], "mainstay-system/shop info ChangeRefused system:serviceaccount:keda:keda-operator id0 ") {
			t.Errorf("notices %v", said.notices)
		}
		time.Sleep(time.Hour)
		again := refusal
		again.ID = "later"
		r.Record(retrying(), again)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if e := said.of("Deployment"); len(e) != 2 || !strings.HasSuffix(e[1], "decision later; 539 times more since the last Event") {
			t.Errorf("Events after an hour: %v", e)
		}
		all := decoded(t, ledger.Bytes())
		if len(all) != 3 {
			t.Fatalf("%d lines, want the first, one with the count, and the one an hour later:\n%s", len(all), ledger.String())
		}
		if all[0].Decision != "id0" || all[0].Count != 0 || all[2].Decision != "later" || all[2].Count != 0 {
			t.Errorf("lines %+v and %+v", all[0], all[2])
		}
		if c := all[1]; c.Count != 539 || c.Decision != "id50" || len(c.Decisions) != maxDecisions || c.Decisions[0] != "id1" || c.Since == nil || c.Time.Sub(*c.Since) != 538*time.Second {
			t.Errorf("the line with the count: %+v", c)
		}
	})
}

func TestOnlyTheSameRefusalIsCounted(t *testing.T) {
	dry := retrying()
	dry.DryRun = true
	other := retrying()
	other.User.Username = "alice"
	elsewhere := retrying()
	record, entry := *elsewhere.Record, *elsewhere.Record.Entry
	entry.Name = "api"
	record.Entry = &entry
	elsewhere.Record = &record
	denied := refusal
	denied.Class, denied.Rule = policy.RulePolicy, "freeze"
	permitted := policy.Decision{ID: "p", Verdict: policy.Permit, Class: policy.RulePolicy}
	drift := retrying()
	drift.Origin, drift.User = policy.OriginDrift, nil
	tests := map[string]struct {
		change   *policy.Change
		decision policy.Decision
		lines    int
	}{
		"again":          {retrying(), refusal, 1},
		"another value":  {change("Deployment", "deployments", "apps", field("spec.replicas", "2", "6")), refusal, 2},
		"another path":   {change("Deployment", "deployments", "apps", field("spec.paused", "", "true")), refusal, 2},
		"another person": {other, refusal, 2},
		"another object": {elsewhere, refusal, 2},
		"another rule":   {retrying(), denied, 2},
		"a permit":       {retrying(), permitted, 2},
		"drift":          {drift, refusal, 2},
		"a dry run":      {dry, refusal, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var ledger bytes.Buffer
			r, err := New(Options{Ledger: &ledger, Clock: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			r.Record(retrying(), refusal)
			r.Record(tt.change, tt.decision)
			if got := len(decoded(t, ledger.Bytes())); got != tt.lines {
				t.Errorf("%d lines, want %d:\n%s", got, tt.lines, ledger.String())
			}
		})
	}
}

func TestWhereThereIsNoRoomEachRefusalIsALine(t *testing.T) {
	var ledger bytes.Buffer
	r, err := New(Options{Ledger: &ledger, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for i := range maxRepeats + 10 {
			r.Record(change("Deployment", "deployments", "apps", field(fmt.Sprintf("spec.f%d", i), "2", "5")), refusal)
		}
	}
	if got, want := len(decoded(t, ledger.Bytes())), maxRepeats+20; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
}

// stuck is an output that takes nothing until it is let go.
type stuck struct {
	let chan struct{}
	bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.let
	return s.Buffer.Write(p)
}

func TestTheLedgerNeverDelaysADecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{let: make(chan struct{})}
		registry := prometheus.NewRegistry()
		r, err := New(Options{Ledger: out, Registerer: registry, ClusterName: "prod"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Start(ctx) }()
		synctest.Wait()
		const more = 5000
		start := time.Now()
		for i := range maxLines + more {
			r.Record(change("Deployment", "deployments", "apps", field(fmt.Sprintf("spec.f%d", i), "2", "5")), refusal)
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("recording waited for %s", waited)
		}
		lost := int(testutil.ToFloat64(r.metrics.lost))
		if lost == 0 || lost > more {
			t.Errorf("%d lines are counted as lost of %d for which there may be no room", lost, more)
		}
		close(out.let)
		synctest.Wait()
		r.Record(change("ConfigMap", "configmaps", "", field("data.a", "2", "5")), refusal)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		lines, said := 0, 0
		for text := range strings.SplitSeq(strings.TrimSpace(out.String()), "\n") {
			var line struct {
				Kind, Cluster string
				Lost          int
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			if line.Kind == KindLost {
				said += line.Lost
			} else {
				lines++
			}
		}
		if said != lost || lines+lost != maxLines+more+1 {
			t.Errorf("%d lines, %d said to be lost, %d counted; %d were decided", lines, said, lost, maxLines+more+1)
		}
	})
}

func TestAfterTheEndNothingIsLost(t *testing.T) {
	var ledger bytes.Buffer
	r, err := New(Options{Ledger: &ledger, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Start(ended); err != nil {
		t.Fatal(err)
	}
	r.Record(retrying(), refusal)
	if got := len(decoded(t, ledger.Bytes())); got != 1 {
		t.Errorf("%d lines after the end, want 1", got)
	}
}

func TestAnAccountIsRefusedOften(t *testing.T) {
	clock := now
	o := newOften(func() time.Time { return clock })
	for i := range oftenRefused {
		o.refused("keda")
		o.refused(fmt.Sprint("person", i))
	}
	if got := o.number(); got != 0 {
		t.Errorf("%v accounts after %d refusals, want none", got, oftenRefused)
	}
	clock = clock.Add(30 * time.Minute)
	o.refused("keda")
	if got := o.number(); got != 1 {
		t.Errorf("%v accounts, want the one that was refused once more", got)
	}
	clock = clock.Add(40 * time.Minute)
	if got := o.number(); got != 0 {
		t.Errorf("%v accounts an hour later, want none", got)
	}
	for i := range maxAccounts + 100 {
		o.refused(fmt.Sprint("bot", i))
	}
	if got := len(o.accounts); got > maxAccounts {
		t.Errorf("%d accounts are counted, at most %d may be", got, maxAccounts)
	}
}

// Names are nobody's label: many people and objects make no more series than one.
func TestManyPeopleAndObjectsMakeNoNewSeries(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	r, err := New(Options{Registerer: registry, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	record := func(i int) {
		for _, kind := range []string{"Deployment", "Secret", fmt.Sprintf("Kind%d", i)} {
			c := change(kind, "things", "", field(fmt.Sprintf("spec.f%d", i), "2", "5"))
			c.User.Username = fmt.Sprint("person", i)
			c.Record.ID = ownership.ID{Kind: kind, Namespace: fmt.Sprint("ns", i), Name: fmt.Sprint("name", i)}
			c.Record.Sync.Name = fmt.Sprint("sync", i)
			d := refusal
			d.ID, d.Rule = fmt.Sprint("id", i), fmt.Sprint("rule", i)
			r.Record(c, d)
		}
	}
	count := func() int {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, family := range families {
			n += len(family.GetMetric())
		}
		return n
	}
	record(0)
	before := count()
	for i := range 500 {
		record(i)
	}
	if diff := cmp.Diff(before, count()); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	if got := testutil.ToFloat64(r.metrics.sensitive.WithLabelValues(sensitiveSecret)); got != 501 {
		t.Errorf("%v refused changes of Secrets are counted, want 501", got)
	}
}
