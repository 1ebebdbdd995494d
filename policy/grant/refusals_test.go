// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func newRefusals(t *testing.T, client *fake.Clientset, replica string) *Refusals {
	t.Helper()
	r, err := NewRefusals(RefusalsOptions{
		Client: client, Namespace: system, Key: newKey(t, "a"), Replica: replica, Clock: func() time.Time { return now },
		Error: func(err error) { t.Log(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run starts it, and returns what stops it.
func run(t *testing.T, r *Refusals) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Start(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func refuse(r *Refusals, id, user string, paths ...string) {
	c := &policy.Change{
		Origin: policy.OriginRequest, Operation: policy.Update, User: &policy.User{Username: user}, Time: now,
		Record: &ownership.Record{Entry: &ownership.Entry{ID: ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}}},
	}
	d := policy.Decision{ID: id, Verdict: policy.Refuse, Class: policy.RuleDefault}
	for _, text := range paths {
		path, err := fieldset.Parse(text)
		if err != nil {
			panic(err)
		}
		d.Uncovered = append(d.Uncovered, policy.Field{Path: path, To: fastjson.MustParse(`"s3cret"`)})
	}
	r.Remember(c, d)
}

func find(t *testing.T, r *Refusals, id string) Refusal {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found, ok := r.Find(id); ok {
			return found
		}
	}
	t.Fatalf("%s is not found", id)
	return Refusal{}
}

func TestEveryReplicaKnowsWhatOneRefused(t *testing.T) {
	client := fake.NewClientset()
	one, two := newRefusals(t, client, "one"), newRefusals(t, client, "two")
	stop := run(t, one)
	run(t, two)
	refuse(one, "7f3k2", "alice", "spec.replicas", "data.password")
	want := Refusal{
		ID: "7f3k2", At: now, Account: "alice", Operation: "UPDATE", Paths: []string{"spec.replicas", "data.password"},
		Object: ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
	}
	for _, r := range []*Refusals{one, two} {
		if diff := cmp.Diff(want, find(t, r, "7f3k2")); diff != "" {
			t.Errorf("Find (-want +got):\n%s", diff)
		}
	}
	secret, err := client.CoreV1().Secrets(system).Get(t.Context(), "mainstay-refusals-one", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(fmt.Sprintf("%s", secret.Data), "s3cret") {
		t.Error("a value is written")
	}
	stop()

	// Started again, it knows what it has refused before, and so do the others.
	again := newRefusals(t, client, "one")
	run(t, again)
	find(t, again, "7f3k2")
	refuse(again, "later", "alice", "spec.replicas")
	find(t, two, "later")
	find(t, two, "7f3k2")

	// A list that was not sealed by Mainstay counts for nothing.
	secret.Name, secret.ResourceVersion = "mainstay-refusals-forged", ""
	secret.Data[dataRecord] = []byte(strings.ReplaceAll(string(secret.Data[dataRecord]), "7f3k2", "forge"))
	if _, err := client.CoreV1().Secrets(system).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refuse(again, "last1", "alice", "spec.replicas")
	find(t, two, "last1")
	if _, ok := two.Find("forge"); ok {
		t.Error("a forged refusal is found")
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	r := newRefusals(t, fake.NewClientset(), "one")
	refuse(r, "first", "alice", "spec.replicas")
	for i := range maxRefusals {
		refuse(r, fmt.Sprintf("id%d", i), "alice", "spec.replicas")
	}
	if _, ok := r.Find("first"); ok {
		t.Error("more are remembered than there is room for")
	}
	if _, ok := r.Find("id0"); !ok {
		t.Error("fewer are remembered than there is room for")
	}
	long := strings.Repeat("x", 900)
	for i := range maxRefusals {
		refuse(r, fmt.Sprintf("long%d", i), "alice", "spec."+long)
	}
	raw, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > maxRefusalsSize || len(raw) < maxRefusalsSize-2000 || !strings.Contains(string(raw), fmt.Sprintf(`"long%d"`, maxRefusals-1)) {
		t.Errorf("%d bytes are written, want the newest in at most %d", len(raw), maxRefusalsSize)
	}
	var many []string
	for i := range maxRefusalPaths + 1 {
		many = append(many, fmt.Sprintf("spec.a%d", i))
	}
	refuse(r, "many1", "alice", many...)
	if got := find(t, r, "many1"); !got.Long || len(got.Paths) > 0 {
		t.Errorf("Find = %+v, want it without paths", got)
	}
}

func TestAControllerDoesNotDriveOutWhatPeopleWereRefused(t *testing.T) {
	r := newRefusals(t, fake.NewClientset(), "one")
	refuse(r, "mine1", "alice", "spec.replicas")
	for i := range 2 * maxRefusals {
		refuse(r, fmt.Sprintf("c%d", i), "system:serviceaccount:shop:operator", "spec.replicas")
	}
	if _, ok := r.Find("mine1"); !ok {
		t.Error("a person's refusal is forgotten")
	}
	if _, ok := r.Find(fmt.Sprintf("c%d", 2*maxRefusals-1)); !ok {
		t.Error("the controller's newest is not known")
	}
}

func TestOnlyWhatAGrantCouldLiftIsRemembered(t *testing.T) {
	change := func() *policy.Change {
		return &policy.Change{Origin: policy.OriginRequest, Operation: policy.Update, User: &policy.User{Username: "alice"}, Time: now, Record: &ownership.Record{Entry: &ownership.Entry{}}}
	}
	dry, drift := change(), change()
	dry.DryRun, drift.Origin = true, policy.OriginDrift
	for name, tt := range map[string]struct {
		change   *policy.Change
		decision policy.Decision
		want     bool
	}{
		"the default":    {change(), policy.Decision{Verdict: policy.Refuse, Class: policy.RuleDefault}, true},
		"a denial":       {change(), policy.Decision{Verdict: policy.Refuse, Class: policy.RulePolicy}, true},
		"a final denial": {change(), policy.Decision{Verdict: policy.Refuse, Class: policy.RulePolicy, Final: true}, false},
		"an error":       {change(), policy.Decision{Verdict: policy.Refuse, Class: policy.RuleError}, false},
		"Mainstay's own": {change(), policy.Decision{Verdict: policy.Refuse, Class: policy.RuleBuiltin}, false},
		"a permit":       {change(), policy.Decision{Verdict: policy.Permit, Class: policy.RulePolicy}, false},
		"a dry run":      {dry, policy.Decision{Verdict: policy.Refuse, Class: policy.RuleDefault}, false},
		"drift":          {drift, policy.Decision{Verdict: policy.Refuse, Class: policy.RuleDefault}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRefusals(t, fake.NewClientset(), "one")
			tt.decision.ID = "7f3k2"
			r.Remember(tt.change, tt.decision)
			if _, ok := r.Find("7f3k2"); ok != tt.want {
				t.Errorf("remembered: %t, want %t", ok, tt.want)
			}
		})
	}
}
