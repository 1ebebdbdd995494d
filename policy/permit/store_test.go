// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package permit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

var (
	now  = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	five = fastjson.MustParse("5")
)

func newKey(t *testing.T, fill byte) *seal.Key {
	t.Helper()
	key, err := seal.NewKey([]byte(strings.Repeat(string(rune(fill)), seal.Size)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type fixture struct {
	*Store
	client *fake.Clientset
	clock  time.Time
	errors []error
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{client: fake.NewClientset(), clock: now}
	s, err := New(Options{
		Client: f.client, Namespace: "mainstay-system", Key: newKey(t, 'a'),
		Clock: func() time.Time { return f.clock }, Error: func(err error) { f.errors = append(f.errors, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Store = s
	return f
}

func (f *fixture) permit(until *time.Time) Permit {
	return Permit{
		UID: "u-1", ID: ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		Path: "spec.replicas", Value: f.Value(five), Rule: "hpa.exception", Account: "hpa", Decision: "7f3k2", At: now, Until: until,
	}
}

func (f *fixture) secret(t *testing.T) *corev1.Secret {
	t.Helper()
	list, err := f.client.CoreV1().Secrets("mainstay-system").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d secrets, %v", len(list.Items), err)
	}
	return &list.Items[0]
}

func TestPermitCountsOnlyForWhatWasPermitted(t *testing.T) {
	f := newFixture(t)
	until := now.Add(time.Hour)
	if err := f.Put(t.Context(), f.permit(&until)); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Find("u-1", "spec.replicas", five); !ok {
		t.Error("the permit is not found at once")
	}
	if _, ok := f.Find("u-1", "spec.replicas", fastjson.MustParse("6")); ok {
		t.Error("it permits another value")
	}
	if _, ok := f.Find("u-1", "spec.replicas", nil); ok {
		t.Error("it permits to have nothing")
	}
	if _, ok := f.Find("u-2", "spec.replicas", five); ok {
		t.Error("it permits another object")
	}
	if _, ok := f.Find("u-1", "spec.paused", five); ok {
		t.Error("it permits another path")
	}
	if got := f.ForObject("u-1"); len(got) != 1 {
		t.Errorf("%d permits of the object", len(got))
	}
	f.clock = until
	if _, ok := f.Find("u-1", "spec.replicas", five); ok {
		t.Error("it has no end")
	}
	if got := f.ForObject("u-1"); len(got) != 0 {
		t.Errorf("%d permits of the object after their end", len(got))
	}
}

func TestOneRecordForEachObjectAndPath(t *testing.T) {
	f := newFixture(t)
	p := f.permit(nil)
	for _, value := range []string{"5", "6", "7"} {
		p.Value = f.Value(fastjson.MustParse(value))
		if err := f.Put(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.secret(t); got.Type != v1alpha1.SecretTypePermit || got.Labels[Label] != "true" {
		t.Errorf("secret of type %q with labels %v", got.Type, got.Labels)
	}
	if _, ok := f.Find("u-1", "spec.replicas", five); ok {
		t.Error("an earlier value is still permitted")
	}
	if err := f.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), p); err != nil {
		t.Errorf("delete what is gone: %v", err)
	}
	if got := f.All(); len(got) != 0 {
		t.Errorf("%d permits left", len(got))
	}
}

func TestForgedPermitsDoNotCount(t *testing.T) {
	tests := map[string]func(t *testing.T, s *corev1.Secret){
		"the record is edited": func(_ *testing.T, s *corev1.Secret) {
			s.Data[dataRecord] = []byte(strings.Replace(string(s.Data[dataRecord]), "7f3k2", "other", 1))
		},
		"another key sealed it": func(t *testing.T, s *corev1.Secret) {
			s.Data[dataSeal] = []byte(newKey(t, 'b').Seal(purpose, s.Data[dataRecord]))
		},
		"it was sealed as something else": func(t *testing.T, s *corev1.Secret) {
			s.Data[dataSeal] = []byte(newKey(t, 'a').Seal("inventory", s.Data[dataRecord]))
		},
		"there is no seal": func(_ *testing.T, s *corev1.Secret) { delete(s.Data, dataSeal) },
		"it lies under another permit's name": func(_ *testing.T, s *corev1.Secret) {
			s.Name = "permit-00"
		},
		"its type is another": func(_ *testing.T, s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque },
	}
	for name, forge := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if err := f.Put(t.Context(), f.permit(nil)); err != nil {
				t.Fatal(err)
			}
			forged := f.secret(t)
			g := newFixture(t)
			g.see(forged)
			if _, ok := g.Find("u-1", "spec.replicas", five); !ok {
				t.Fatal("the genuine permit does not count")
			}
			g = newFixture(t)
			forge(t, forged)
			g.see(forged)
			if _, ok := g.Find("u-1", "spec.replicas", five); ok {
				t.Error("the forged permit counts")
			}
		})
	}
}

func TestOverwritingAPermitEndsIt(t *testing.T) {
	f := newFixture(t)
	if err := f.Put(t.Context(), f.permit(nil)); err != nil {
		t.Fatal(err)
	}
	s := f.secret(t)
	delete(s.Data, dataSeal)
	f.see(s)
	if _, ok := f.Find("u-1", "spec.replicas", five); ok {
		t.Error("the permit outlives its record")
	}
	if len(f.errors) != 1 || !errors.Is(f.errors[0], seal.ErrSeal) {
		t.Errorf("errors %v", f.errors)
	}
}

func TestPermitsAreFoundByTheWatch(t *testing.T) {
	f := newFixture(t)
	if err := f.Put(t.Context(), f.permit(nil)); err != nil {
		t.Fatal(err)
	}
	other, err := New(Options{Client: f.client, Namespace: "mainstay-system", Key: newKey(t, 'a')})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = other.Start(t.Context()) }()
	for len(other.All()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if !other.Synced() {
		t.Error("not synced")
	}
	got, ok := other.Find("u-1", "spec.replicas", five)
	if diff := cmp.Diff(f.permit(nil), got); !ok || diff != "" {
		t.Errorf("found %v (-want +got):\n%s", ok, diff)
	}
}

func TestLateNewsOfTheWatchDoNotUndoAPut(t *testing.T) {
	f := newFixture(t)
	p := f.permit(nil)
	f.add(p, 9)
	earlier := p
	earlier.Value = Absent
	f.add(earlier, 8)
	if _, ok := f.Find("u-1", "spec.replicas", five); !ok {
		t.Error("an earlier version won")
	}
	s, err := encode(p, f.options.Key, "mainstay-system")
	if err != nil {
		t.Fatal(err)
	}
	s.ResourceVersion = "8"
	f.unsee(s)
	if _, ok := f.Find("u-1", "spec.replicas", five); !ok {
		t.Error("an earlier deletion won")
	}
}

func TestKeepWritesWhatHasToBeRemembered(t *testing.T) {
	f := newFixture(t)
	path := fieldset.Path{{Field: "spec"}, {Field: "replicas"}}
	change := &policy.Change{
		Operation: policy.Update, OldObject: fastjson.MustParse(`{"metadata":{"uid":"u-1"}}`), User: &policy.User{Username: "hpa"},
		Record: &ownership.Record{Entry: &ownership.Entry{ID: f.permit(nil).ID}, Sync: &ownership.Sync{}}, Time: now,
	}
	decision := policy.Decision{ID: "7f3k2", Permits: []policy.Permitted{
		{Field: policy.Field{Path: path, To: five}, Rule: "hpa.exception", Recorded: true},
		{Field: policy.Field{Path: path[:1], To: five}, Rule: "other", Recorded: false},
	}}
	if err := f.Keep(t.Context(), change, decision); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Permit{f.permit(nil)}, f.All()); diff != "" {
		t.Errorf("permits (-want +got):\n%s", diff)
	}
	change.OldObject = fastjson.MustParse(`{}`)
	if err := f.Keep(t.Context(), change, decision); err == nil {
		t.Error("a permit without an object's uid was written")
	}
}

func TestADeletionIsPermittedForOneIdentity(t *testing.T) {
	f := newFixture(t)
	until := now.Add(time.Hour)
	change := &policy.Change{
		Operation: policy.Delete, Time: now, OldObject: fastjson.MustParse(`{"metadata":{"uid":"u-1"}}`),
		Record: &ownership.Record{Entry: &ownership.Entry{ID: f.permit(nil).ID}},
	}
	decision := policy.Decision{Permits: []policy.Permitted{{Rule: "grant.mainstay-system/hotfix", Until: &until, Recorded: true}}}
	if err := f.Keep(t.Context(), change, decision); err != nil {
		t.Fatal(err)
	}
	if p, ok := f.FindDeletion(change.ID()); !ok || p.Rule != "grant.mainstay-system/hotfix" {
		t.Errorf("FindDeletion = %+v, %t", p, ok)
	}
	other := change.ID()
	other.Name = "api"
	if _, ok := f.FindDeletion(other); ok {
		t.Error("it permits that another object is gone")
	}
	if len(f.ForObject("u-1")) > 0 {
		t.Error("it permits something of the object itself")
	}
	f.clock = until
	if _, ok := f.FindDeletion(change.ID()); ok {
		t.Error("it permits after its end")
	}
}
