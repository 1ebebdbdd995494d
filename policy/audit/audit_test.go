// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/valyala/fastjson"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func change(kind, resource, group string, fields ...policy.Field) *policy.Change {
	return &policy.Change{
		Origin: policy.OriginRequest, Operation: policy.Update, User: &policy.User{Username: "alice"}, Time: now,
		OldObject: fastjson.MustParse(`{"metadata":{"uid":"u-1"}}`), Fields: fields,
		Record: &ownership.Record{
			Entry: &ownership.Entry{
				ID:      ownership.ID{Group: group, Kind: kind, Namespace: "shop", Name: "web"},
				Version: "v1", Resource: resource,
				Applied: &ownership.Content{
					File: "apps/web.yaml", Line: 23,
					Revision: ownership.Revision{Commit: "a1b2c3d4", Author: "Bo", Time: now.Add(-3 * 24 * time.Hour)},
				},
			},
			Sync: &ownership.Sync{
				Namespace: "mainstay-system", Name: "shop", Mode: v1alpha1.ModeEnforce, Contact: "#shop-oncall",
				URL: "https://git.example.org/shop.git", Applied: ownership.Revision{Name: "main@sha1:a1b2c3d4", Commit: "a1b2c3d4"},
			},
		},
	}
}

func field(path, git, to string) policy.Field {
	p, err := fieldset.Parse(path)
	if err != nil {
		panic(err)
	}
	f := policy.Field{Path: p, Op: fieldset.OpReplace, Declared: true}
	if git != "" {
		f.Git = fastjson.MustParse(git)
		f.From = f.Git
	}
	if to != "" {
		f.To = fastjson.MustParse(to)
	}
	return f
}

// pod is the use of a pod of a workload.
func pod(kind, resource, group string, operation policy.Operation, subResource string) *policy.Change {
	c := change(kind, resource, group)
	c.Operation, c.SubResource, c.Pod = operation, subResource, "web-7d9f-abcde"
	return c
}

func mask([]byte) string { return "0123456789ab" }

var refusal = policy.Decision{ID: "7f3k2", Verdict: policy.Refuse, Class: policy.RuleDefault, Reason: "git says otherwise"}

func TestRefusalIsAtMostSixLines(t *testing.T) {
	deny := policy.Decision{ID: "7f3k2", Verdict: policy.Refuse, Class: policy.RulePolicy, Reason: "frozen until Monday", Next: "wait"}
	known := refusal
	known.Library = []string{"keda"}
	long := `"` + strings.Repeat("x", 200) + `"`
	tests := map[string]struct {
		change   *policy.Change
		decision policy.Decision
		want     string
	}{
		"one field": {
			change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5")), refusal,
			`deployments.apps "web" (namespace shop) is held by git
  spec.replicas   git: 2   asked: 5
  change it:  https://git.example.org/shop/blob/main/apps/web.yaml#L23   (a1b2c3d, Bo, 3 days ago)
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`,
		},
		"more fields than there is room for": {
			change("Deployment", "deployments", "apps", field("spec.a", "2", "5"), field("spec.bb", `"x"`, ""), field("spec.c", "", "true"), field("spec.d", "1", "2")), refusal,
			`deployments.apps "web" (namespace shop) is held by git
  spec.a    git: 2   asked: 5
  spec.bb   git: x   asked: (removed)   … and 2 more
  change it:  https://git.example.org/shop/blob/main/apps/web.yaml#L23   (a1b2c3d, Bo, 3 days ago)
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`,
		},
		"what a policy of the library is made for": {
			change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5"), field("spec.bb", `"x"`, "")), known,
			`deployments.apps "web" (namespace shop) is held by git
  spec.replicas   git: 2   asked: 5   … and 1 more
  known:      library policy "keda" is made for this: spec.policies.library: [keda]
  change it:  https://git.example.org/shop/blob/main/apps/web.yaml#L23   (a1b2c3d, Bo, 3 days ago)
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`,
		},
		"a rule that denies": {
			change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5")), deny,
			`deployments.apps "web" (namespace shop) is held by git: frozen until Monday
  spec.replicas   git: 2   asked: 5
  instead:    wait
  change it:  https://git.example.org/shop/blob/main/apps/web.yaml#L23   (a1b2c3d, Bo, 3 days ago)
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`,
		},
		"a Secret": {
			change("Secret", "secrets", "", field("data.password", `"aHVudGVy"`, `"Zm9v"`)), refusal,
			`secrets "web" (namespace shop) is held by git
  data.password   git: (hash 0123456789ab)   asked: (hash 0123456789ab)
  change it:  https://git.example.org/shop/blob/main/apps/web.yaml#L23   (a1b2c3d, Bo, 3 days ago)
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`,
		},
		"values that would break the lines": {
			change("ConfigMap", "configmaps", "", field("data.a", `"two\nlines"`, long)), refusal,
			`configmaps "web" (namespace shop) is held by git
  data.a   git: "two\nlines"   asked: ` + strings.Repeat("x", 59) + `…
  change it:  https://git.example.org/shop/blob/main/apps/web.yaml#L23   (a1b2c3d, Bo, 3 days ago)
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`,
		},
		"the use of a pod": {
			pod("Deployment", "deployments", "apps", policy.Connect, "exec"), deny,
			`pods/exec "web-7d9f-abcde" of deployments.apps "web" (namespace shop) is refused: frozen until Monday
  instead:    wait
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`,
		},
		"the eviction of a declared pod": {
			pod("Pod", "pods", "", policy.Delete, "eviction"), refusal,
			`pods/eviction "web-7d9f-abcde" (namespace shop) is held by git: to delete it, remove it there
  change it:  https://git.example.org/shop/blob/main/apps/web.yaml#L23   (a1b2c3d, Bo, 3 days ago)
  emergency:  kubectl mainstay breakglass request 7f3k2 --for 1h --reason "…"
  ask:        #shop-oncall`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := Words{Change: test.change, Decision: test.decision, Mask: mask, ShowValues: true}
			if diff := cmp.Diff(test.want, w.Refusal()); diff != "" {
				t.Errorf("refusal (-want +got):\n%s", diff)
			}
			if got := w.Warning(); len([]rune(got)) > MaxWarning || strings.Contains(got, "\n") {
				t.Errorf("warning of %d characters: %s", len([]rune(got)), got)
			}
			if got := w.Event(); len(got) > MaxEvent || strings.Contains(got, "\n") {
				t.Errorf("note of %d bytes: %s", len(got), got)
			}
		})
	}
}

func TestACorrectionIsToldAndRecorded(t *testing.T) {
	var ledger bytes.Buffer
	registry := prometheus.NewRegistry()
	r, err := New(Options{Ledger: &ledger, Events: &fakeEvents{}, Registerer: registry, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	decision := policy.Decision{ID: "7f3k2ab", Verdict: policy.Correct, Class: policy.RuleDefault, Reason: "git says otherwise, and git's value was put back"}
	one := change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5"))
	for text, c := range map[string]*policy.Change{
		`deployments.apps "web" (namespace shop): spec.replicas was put back to git's value (7f3k2ab)`:              one,
		`deployments.apps "web" (namespace shop): spec.replicas and 1 more were put back to git's values (7f3k2ab)`: change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5"), field("spec.paused", "", "true")),
	} {
		if got := (Words{Change: c, Decision: decision}).Warning(); got != text {
			t.Errorf("warning %s\nwant    %s", got, text)
		}
	}
	long := change("Deployment", "deployments", "apps", field(`spec.template.spec.containers[name=web].livenessProbe.httpGet.httpHeaders`, "2", "5"))
	if got := (Words{Change: long, Decision: decision}).Warning(); len([]rune(got)) != MaxWarning || !strings.HasSuffix(got, "… was put back to git's value (7f3k2ab)") {
		t.Errorf("warning of %d characters: %s", len([]rune(got)), got)
	}
	r.Record(one, decision)
	var line Line
	if err := json.Unmarshal(ledger.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if line.Verdict != "correct" || line.Decision != "7f3k2ab" || len(line.Changes) != 1 {
		t.Errorf("ledger line %+v", line)
	}
	if e := <-r.queue; e.reason != EventCorrected || e.kind != "Normal" {
		t.Errorf("event %+v", e)
	}
	if got := testutil.ToFloat64(r.metrics.decisions.WithLabelValues("request", "UPDATE", "correct", "default", "Enforce")); got != 1 {
		t.Errorf("counted %v", got)
	}
	if got := r.Refused24h(one.Record.Sync.Key()); got != 0 {
		t.Errorf("%d refusals", got)
	}
	ledger.Reset()
	one.DryRun = true
	r.Record(one, decision)
	if ledger.Len() > 0 || len(r.queue) > 0 {
		t.Errorf("a dry run is recorded: %s", ledger.String())
	}
}

func TestLongTextsAreCut(t *testing.T) {
	long := strings.Repeat("ä", 2000)
	c := change("Deployment", "deployments", "apps", field(`metadata.annotations["`+long+`"]`, "2", "5"))
	w := Words{Change: c, Decision: refusal, ShowValues: true}
	if got := w.Event(); len(got) > MaxEvent {
		t.Errorf("note of %d bytes", len(got))
	}
	if got := w.Warning(); len([]rune(got)) > MaxWarning || !strings.HasSuffix(got, " (7f3k2)") {
		t.Errorf("warning of %d characters: %s", len([]rune(got)), got)
	}
}

func TestLinkFindsTheForge(t *testing.T) {
	commit := "0123456789012345678901234567890123456789"
	tests := map[string]struct{ url, web, ref, want string }{
		"GitHub":             {"https://github.com/o/shop.git", "", "main", "https://github.com/o/shop/blob/main/a%20b/web.yaml#L23"},
		"GitLab":             {"https://gitlab.example.org/o/shop.git", "", "main", "https://gitlab.example.org/o/shop/-/blob/main/a%20b/web.yaml#L23"},
		"Gitea":              {"https://gitea.example.org/o/shop", "", "main", "https://gitea.example.org/o/shop/src/branch/main/a%20b/web.yaml#L23"},
		"Gitea by commit":    {"https://gitea.example.org/o/shop", "", commit, "https://gitea.example.org/o/shop/src/commit/" + commit + "/a%20b/web.yaml#L23"},
		"Bitbucket":          {"https://bitbucket.org/o/shop.git", "", "main", "https://bitbucket.org/o/shop/src/main/a%20b/web.yaml#lines-23"},
		"credentials":        {"https://user:secret@git.example.org/shop.git", "", "main", "https://git.example.org/shop/blob/main/a%20b/web.yaml#L23"},
		"a template":         {"https://github.com/o/shop.git", "https://x/{commit}/{file}?l={line}", "main", "https://x/" + commit + "/a%20b/web.yaml?l=23"},
		"a file":             {"file:///srv/shop.git", "", "main", "a b/web.yaml:23 in file:///srv/shop.git"},
		"what is no URL":     {"http://[", "", "main", "a b/web.yaml:23"},
		"a port and a slash": {"https://git.example.org:8443/shop/", "", "main", "https://git.example.org:8443/shop/blob/main/a%20b/web.yaml#L23"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sync := &ownership.Sync{URL: test.url, WebURL: test.web, Applied: ownership.Revision{Name: test.ref + "@sha1:" + commit, Commit: commit}}
			got := Link(sync, &ownership.Content{File: "a b/web.yaml", Line: 23, Revision: ownership.Revision{Commit: commit}}, 23)
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// fakeEvents keeps the Events on objects, and only those.
type fakeEvents struct{ written chan string }

func (f *fakeEvents) Eventf(regarding, _ runtime.Object, eventtype, reason, _, note string, args ...any) {
	if ref, ok := regarding.(*corev1.ObjectReference); ok && ref.Kind == "GitSync" {
		return
	}
	f.written <- eventtype + " " + reason + " " + fmt.Sprintf(note, args...)
}

func TestRecorderRecordsWhatMatters(t *testing.T) {
	declared := field("spec.replicas", "2", "5")
	undeclared := declared
	undeclared.Declared = false
	dry := change("Deployment", "deployments", "apps", declared)
	dry.DryRun = true
	tests := map[string]struct {
		change   *policy.Change
		decision policy.Decision
		lines    int
		refused  int32
	}{
		"a refusal":                           {change("Deployment", "deployments", "apps", declared), refusal, 1, 1},
		"what git says":                       {change("Deployment", "deployments", "apps"), policy.Decision{Verdict: policy.Permit, Class: policy.RuleGit}, 0, 0},
		"a permit by a policy":                {change("Deployment", "deployments", "apps", declared), policy.Decision{Verdict: policy.Permit, Class: policy.RulePolicy}, 1, 0},
		"a component at an undeclared field":  {change("Deployment", "deployments", "apps", undeclared), policy.Decision{Verdict: policy.Permit, Class: policy.RuleBuiltin}, 0, 0},
		"a built-in permit of declared field": {change("Deployment", "deployments", "apps", declared), policy.Decision{Verdict: policy.Permit, Class: policy.RuleBuiltin}, 1, 0},
		"the way out":                         {change("Deployment", "deployments", "apps", declared), policy.Decision{Verdict: policy.Permit, Class: policy.RuleOff}, 1, 0},
		"a dry run":                           {dry, refusal, 0, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var ledger bytes.Buffer
			registry := prometheus.NewRegistry()
			r, err := New(Options{Ledger: &ledger, ClusterName: "prod", Mask: mask, Registerer: registry, Clock: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			r.Record(test.change, test.decision)
			if got := strings.Count(ledger.String(), "\n"); got != test.lines {
				t.Errorf("%d lines, want %d: %s", got, test.lines, ledger.String())
			}
			if test.lines > 0 {
				var line Line
				if err := json.Unmarshal(ledger.Bytes(), &line); err != nil {
					t.Fatal(err)
				}
				if line.Cluster != "prod" || line.Object.Name != "web" || line.User.Username != "alice" || line.Source.Line != 23 || len(line.Changes) != 1 {
					t.Errorf("line %s", ledger.String())
				}
			}
			if got := r.Refused24h(types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}); got != test.refused {
				t.Errorf("%d refused, want %d", got, test.refused)
			}
			counted := 0.0
			if !test.change.DryRun {
				counted = 1
			}
			got := testutil.ToFloat64(r.metrics.decisions.WithLabelValues("request", "UPDATE", string(test.decision.Verdict), test.decision.Class, "Enforce"))
			if got != counted {
				t.Errorf("counted %v, want %v", got, counted)
			}
		})
	}
}

func TestLedgerMasksSecrets(t *testing.T) {
	var ledger bytes.Buffer
	r, err := New(Options{Ledger: &ledger, Mask: mask})
	if err != nil {
		t.Fatal(err)
	}
	r.Record(change("Secret", "secrets", "", field("data.password", `"aHVudGVy"`, `"Zm9v"`)), refusal)
	if text := ledger.String(); strings.Contains(text, "aHVudGVy") || strings.Contains(text, "Zm9v") || !strings.Contains(text, "0123456789ab") {
		t.Errorf("line %s", text)
	}
}

func TestRefusalsAreCountedForADay(t *testing.T) {
	clock := now
	r, err := New(Options{Clock: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	sync := types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}
	for hour, want := range []int32{1, 2, 3} {
		clock = now.Add(time.Duration(hour) * 10 * time.Hour)
		r.Record(change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5")), refusal)
		if got := r.Refused24h(sync); got != want {
			t.Errorf("after %d hours: %d, want %d", hour*10, got, want)
		}
	}
	clock = now.Add(25 * time.Hour)
	if got := r.Refused24h(sync); got != 2 {
		t.Errorf("after a day: %d, want 2", got)
	}
	if got := r.Refused24h(types.NamespacedName{Name: "other"}); got != 0 {
		t.Errorf("another GitSync: %d", got)
	}
}

func TestTheLastEventsAreWrittenToo(t *testing.T) {
	events := &fakeEvents{written: make(chan string, 10)}
	r, err := New(Options{Events: events, Mask: mask, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	r.Record(change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5")), refusal)
	r.Record(change("Deployment", "deployments", "apps", field("spec.paused", "", "true")), refusal)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Start(ended); err != nil {
		t.Fatal(err)
	}
	if n := len(events.written); n != 2 {
		t.Errorf("%d Events were written, want those of both refusals before the end", n)
	}
}

func TestEventsAreNotRepeated(t *testing.T) {
	var later atomic.Int64
	events := &fakeEvents{written: make(chan string, 10)}
	r, err := New(Options{Events: events, Mask: mask, Clock: func() time.Time { return now.Add(time.Duration(later.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = r.Start(t.Context()) }()
	c := change("Deployment", "deployments", "apps", field("spec.replicas", "2", "5"))
	r.Record(c, refusal)
	if got := <-events.written; !strings.HasPrefix(got, "Warning ChangeRefused alice: update of deployments.apps") {
		t.Errorf("event %s", got)
	}
	r.Record(c, refusal)
	c.Record.Sync.Mode = v1alpha1.ModeAudit
	r.Record(c, refusal)
	if got := <-events.written; !strings.HasPrefix(got, "Warning ChangeWouldBeRefused ") {
		t.Errorf("event %s, want no second ChangeRefused before it", got)
	}
	later.Store(int64(refusalQuiet))
	c.Record.Sync.Mode = v1alpha1.ModeEnforce
	r.Record(c, refusal)
	if got := <-events.written; !strings.HasPrefix(got, "Warning ChangeRefused ") || !strings.HasSuffix(got, "; 1 times more since the last Event") {
		t.Errorf("event %s", got)
	}
}
