// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func mask(b []byte) string { return fmt.Sprintf("hash-%d", len(b)) }

func newEngine(t testing.TB) *policy.Engine {
	t.Helper()
	e, err := policy.New(t.Context(), policy.Options{MaskSecret: mask, Deadline: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// newRing is a ring that nobody writes for yet, at noon.
func newRing(t testing.TB, change func(*Options)) *Ring {
	t.Helper()
	o := Options{
		Policies: newEngine(t), Replica: "a", ClusterName: "prod", Mask: mask, Clock: func() time.Time { return noon },
		Error: func(err error) { t.Error(err) },
	}
	if change != nil {
		change(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// drain writes down all that was added.
func (r *Ring) drain() {
	for len(r.queue) > 0 {
		e := <-r.queue
		r.queued.Add(-int64(len(e.review)))
		r.write(e)
	}
}

// scaled is alice's request to run more copies than git says.
func scaled(t testing.TB, kind string, parser *fastjson.Parser, to int) *policy.Change {
	t.Helper()
	review := fmt.Appendf(nil, `{"request":{
		"object":{"metadata":{"name":"web","uid":"u-1"},"spec":{"replicas":%d},"data":{"p":"planted"}},
		"oldObject":{"metadata":{"name":"web","uid":"u-1"},"spec":{"replicas":2},"data":{"p":"planted"}},
		"options":{"fieldManager":"kubectl-scale"}}}`, to)
	root, err := parser.ParseBytes(review)
	if err != nil {
		t.Fatal(err)
	}
	path := fieldset.Path{{Field: "spec"}, {Field: "replicas"}}
	request := root.Get("request")
	gvk := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: kind}
	if kind == "Secret" {
		gvk.Group = ""
	}
	return &policy.Change{
		Origin: policy.OriginRequest, Operation: policy.Update, User: &policy.User{Username: "alice", Groups: []string{"developers"}},
		Kind: gvk, Resource: gvk.GroupVersion().WithResource(strings.ToLower(kind) + "s"),
		Object: request.Get("object"), OldObject: request.Get("oldObject"), Options: request.Get("options"), Review: review,
		Fields: []policy.Field{{Path: path, Op: fieldset.OpReplace, From: request.Get("oldObject", "spec", "replicas"), To: request.Get("object", "spec", "replicas"), Declared: true}},
		Record: &ownership.Record{
			Entry: &ownership.Entry{
				ID: ownership.ID{Group: gvk.Group, Kind: kind, Namespace: "shop", Name: "web"}, Version: "v1", Resource: strings.ToLower(kind) + "s",
				Applied: &ownership.Content{File: "apps/web.yaml", Line: 3, Baseline: json.RawMessage(`{"spec":{"replicas":2}}`)},
			},
			Sync: &ownership.Sync{Namespace: "mainstay-system", Name: "shop", Mode: "Enforce", Undeclared: "RejectPeople", Applied: ownership.Revision{Name: "main@sha1:a1"}},
		},
		Time: noon,
	}
}

func refused(c *policy.Change, id string) policy.Decision {
	return policy.Decision{ID: id, Verdict: policy.Refuse, Class: policy.RuleDefault, Reason: "git says otherwise", Uncovered: c.Fields, Policies: "d"}
}

func find(t *testing.T, r *Ring, id string) Record {
	t.Helper()
	record, ok, err := r.Find(id)
	if err != nil || !ok {
		t.Fatalf("decision %s: found %t, %v", id, ok, err)
	}
	return record
}

func ids(t *testing.T, r *Ring, s Select) string {
	t.Helper()
	var out []string
	for record, err := range r.Read(s) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, record.Decision)
	}
	return strings.Join(out, " ")
}

func TestARecordIsJudgedAgainAsItWas(t *testing.T) {
	r := newRing(t, nil)
	engine := r.o.Policies.(*policy.Engine)
	var parser fastjson.Parser
	c := scaled(t, "Deployment", &parser, 5)
	want := engine.Decide(t.Context(), c)
	r.Add(c, want)
	// The request's memory is used again before the record is written.
	if _, err := parser.Parse(`{"request":{"object":{"spec":{"replicas":"xxxxxxxxxxxxxxxxxxxxxxxx"}}}}`); err != nil {
		t.Fatal(err)
	}
	copy(c.Review, strings.Repeat("x", len(c.Review)))
	r.drain()

	record := find(t, r, want.ID)
	if record.Replica != "a" || record.Cluster != "prod" || record.Object.UID != "u-1" || record.Revision != "main@sha1:a1" || record.Policies == "" {
		t.Errorf("record = %+v", record)
	}
	change := record.Changes[0]
	if change.Path != "spec.replicas" || string(change.From) != "2" || string(change.To) != "5" || string(change.Git) != "2" {
		t.Errorf("change = %+v", change)
	}
	if diff := cmp.Diff([]string{"spec.replicas"}, record.Uncovered); diff != "" {
		t.Errorf("uncovered (-want +got):\n%s", diff)
	}
	got, _, err := engine.Again(t.Context(), record.Basis.Input)
	if err != nil {
		t.Fatal(err)
	}
	if got.Verdict != want.Verdict || got.Class != want.Class || got.Policies != want.Policies || record.Policies != want.Policies {
		t.Errorf("again %+v, first %+v", got, want)
	}
}

func TestWhatIsRecorded(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(c *policy.Change, d *policy.Decision)
		kept   bool
		leftOut,
		changed string
	}{
		"a refusal":     {func(*policy.Change, *policy.Decision) {}, true, "", "2 5"},
		"what git says": {func(_ *policy.Change, d *policy.Decision) { d.Verdict, d.Class = policy.Permit, policy.RuleGit }, false, "", ""},
		"a dry run":     {func(c *policy.Change, _ *policy.Decision) { c.DryRun = true }, true, "", "2 5"},
		"drift": {func(c *policy.Change, _ *policy.Decision) {
			c.Origin, c.User, c.Review, c.Options = policy.OriginDrift, nil, nil, nil
		}, true, "", "2 5"},
		"a large review": {func(c *policy.Change, _ *policy.Decision) { c.Review = append(c.Review, make([]byte, maxReview)...) }, true, "larger than", " "},
		"a Scale of none": {func(c *policy.Change, _ *policy.Decision) {
			c.SubResource, c.Review = "scale", []byte(`{"request":{"object":{"spec":{}},"oldObject":{"spec":{"replicas":2}}}}`)
		}, true, "", "2 0"},
		"a create of something else": {func(c *policy.Change, _ *policy.Decision) { c.Operation, c.OldObject = policy.Create, nil }, true, "", "2 5"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRing(t, nil)
			c := scaled(t, "Deployment", new(fastjson.Parser), 5)
			d := refused(c, "one")
			tt.change(c, &d)
			r.Add(c, d)
			r.drain()
			record, ok, err := r.Find("one")
			if err != nil || ok != tt.kept {
				t.Fatalf("found %t, %v", ok, err)
			}
			if !ok {
				return
			}
			if got := string(record.Changes[0].From) + " " + string(record.Changes[0].To); got != tt.changed {
				t.Errorf("changed %q, want %q", got, tt.changed)
			}
			if record.DryRun != c.DryRun {
				t.Errorf("dry run: %t", record.DryRun)
			}
			if tt.leftOut == "" && len(record.Basis.Input) == 0 || !strings.Contains(record.Basis.LeftOut, tt.leftOut) {
				t.Errorf("left out %q, input of %d bytes", record.Basis.LeftOut, len(record.Basis.Input))
			}
		})
	}
}

func TestValuesOfSecretsAreNowhere(t *testing.T) {
	r := newRing(t, nil)
	c := scaled(t, "Secret", new(fastjson.Parser), 5)
	c.Fields[0].Path = fieldset.Path{{Field: "data"}, {Field: "p"}}
	c.Record.Applied.Baseline = json.RawMessage(`{"data":{"p":"planted"}}`)
	r.Add(c, refused(c, "one"))
	r.drain()
	raw, err := json.Marshal(find(t, r, "one"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "planted") || !strings.Contains(string(raw), "hash-") {
		t.Errorf("the record is %s", raw)
	}
}

func TestWhatIsTriedAgainAndAgainIsKeptOnce(t *testing.T) {
	r := newRing(t, nil)
	add := func(id string, to int, at time.Duration) {
		c := scaled(t, "Deployment", new(fastjson.Parser), to)
		c.Time = noon.Add(at)
		r.Add(c, refused(c, id))
		r.drain()
	}
	add("first", 5, 0)
	add("again", 5, time.Second)
	add("other", 6, 2*time.Second)
	add("later", 5, 2*time.Minute)
	for id, same := range map[string]string{"first": "", "again": "first", "other": "", "later": ""} {
		record := find(t, r, id)
		if record.SameAs != same || record.Basis == nil {
			t.Errorf("%s: same as %q, want %q; its basis is there: %t", id, record.SameAs, same, record.Basis != nil)
		}
	}
}

func TestTheRingIsBounded(t *testing.T) {
	fill := func(r *Ring, n int) {
		for i := range n {
			c := scaled(t, "Deployment", new(fastjson.Parser), i)
			r.Add(c, refused(c, fmt.Sprintf("d%d", i)))
			r.drain()
		}
	}
	t.Run("in number", func(t *testing.T) {
		r := newRing(t, func(o *Options) { o.MaxRecords = 4 })
		fill(r, 11)
		if got := ids(t, r, Select{}); got != "d4 d5 d6 d7 d8 d9 d10" {
			t.Errorf("kept %s", got)
		}
		if n := testutil.ToFloat64(r.metrics.kept); n != 7 {
			t.Errorf("the metric says %v", n)
		}
	})
	t.Run("in size", func(t *testing.T) {
		r := newRing(t, func(o *Options) { o.MaxBytes, o.MaxRecords = 4096, 4 })
		fill(r, 64)
		if r.bytes > 4096+maxBlock || r.records >= 64 {
			t.Errorf("%d bytes, %d records", r.bytes, r.records)
		}
	})
	t.Run("in age", func(t *testing.T) {
		now := noon
		r := newRing(t, func(o *Options) { o.Clock = func() time.Time { return now } })
		fill(r, 3)
		if got := ids(t, r, Select{}); got != "d0 d1 d2" {
			t.Errorf("kept %s", got)
		}
		now = noon.Add(25 * time.Hour)
		if got := ids(t, r, Select{}); got != "" {
			t.Errorf("a day later: %s", got)
		}
		r.mu.Lock()
		r.trim()
		r.mu.Unlock()
		if r.records != 0 || r.bytes != 0 {
			t.Errorf("%d records, %d bytes are left", r.records, r.bytes)
		}
	})
}

func TestReadingSelects(t *testing.T) {
	r := newRing(t, func(o *Options) { o.MaxRecords = 4 })
	for i := range 6 {
		c := scaled(t, "Deployment", new(fastjson.Parser), i)
		c.Time = noon.Add(time.Duration(i-6) * time.Minute)
		r.Add(c, refused(c, fmt.Sprintf("d%d", i)))
	}
	r.drain()
	if got := ids(t, r, Select{Since: noon.Add(-3 * time.Minute)}); got != "d3 d4 d5" {
		t.Errorf("since: %s", got)
	}
	if got := ids(t, r, Select{After: 4}); got != "d4 d5" {
		t.Errorf("after: %s", got)
	}
	for record, err := range r.Read(Select{}) {
		if err != nil || record.Basis != nil {
			t.Errorf("%v; the basis is there though nobody asked: %t", err, record.Basis != nil)
		}
	}
	for record, err := range r.Read(Select{Whole: true}) {
		if err != nil || record.Basis == nil {
			t.Errorf("%v; the basis is there: %t", err, record.Basis != nil)
		}
	}
	if _, ok, err := r.Find("none"); ok || err != nil {
		t.Errorf("found one that is not there, or %v", err)
	}
}

func TestNothingWaitsAndLossesAreCounted(t *testing.T) {
	r := newRing(t, nil)
	c := scaled(t, "Deployment", new(fastjson.Parser), 5)
	for range maxQueued + 3 {
		r.Add(c, refused(c, "x"))
	}
	if got := testutil.ToFloat64(r.metrics.lost.WithLabelValues(lostBusy)); got != 3 {
		t.Errorf("lost %v, want 3", got)
	}
	routine := policy.Decision{ID: "y", Verdict: policy.Permit, Class: policy.RuleBuiltin}
	for range routineBurst + 20 {
		r.Add(c, routine)
	}
	if got := testutil.ToFloat64(r.metrics.lost.WithLabelValues(lostRoutine)); got < 10 {
		t.Errorf("left out %v routine decisions", got)
	}
}

func TestHandingOverAllocatesLittle(t *testing.T) {
	r := newRing(t, nil)
	c := scaled(t, "Deployment", new(fastjson.Parser), 5)
	d := refused(c, "x")
	got := testing.AllocsPerRun(100, func() {
		r.Add(c, d)
		<-r.queue
		r.queued.Store(0)
	})
	if got > 3 {
		t.Errorf("%v allocations, want at most 3", got)
	}
}

func TestReadersAreTold(t *testing.T) {
	r := newRing(t, nil)
	changed := r.Changed()
	go func() { _ = r.Start(t.Context()) }()
	c := scaled(t, "Deployment", new(fastjson.Parser), 5)
	r.Add(c, refused(c, "one"))
	<-changed
	if got := ids(t, r, Select{}); got != "one" {
		t.Errorf("read %q", got)
	}
}

func TestNewNamesTheOptionThatIsMissing(t *testing.T) {
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "Options.Policies") {
		t.Errorf("got %v", err)
	}
}
