// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

const system = "mainstay-system"

var now = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

func newKey(t *testing.T, fill string) *seal.Key {
	t.Helper()
	key, err := seal.NewKey([]byte(strings.Repeat(fill, seal.Size)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

type fixture struct {
	*Store
	t       *testing.T
	client  *fake.Clientset
	dynamic dynamic.Interface

	mu     sync.Mutex
	active []string
	clock  time.Time
	errors []error
}

// SetGrants makes the fixture the Store's engine.
func (f *fixture) SetGrants(grants []policy.Grant) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = nil
	for _, g := range grants {
		f.active = append(f.active, g.Key())
	}
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clock
}

func (f *fixture) set(clock time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock = clock
}

// await waits until the engine knows exactly these grants.
func (f *fixture) await(keys ...string) {
	f.t.Helper()
	var got []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		got = f.active
		f.mu.Unlock()
		if f.Synced() && cmp.Equal(append([]string{}, keys...), append([]string{}, got...)) {
			return
		}
	}
	f.t.Fatalf("active are %q, want %q; errors %v", got, keys, f.errors)
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	scheme := runtime.NewScheme()
	f := &fixture{
		t: t, client: fake.NewClientset(), clock: now,
		dynamic: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(scheme, map[schema.GroupVersionResource]string{breakGlasses: "BreakGlassList"}),
	}
	s, err := New(Options{
		Client: f.client, Dynamic: f.dynamic, Namespace: system, Key: newKey(t, "a"), Engine: f, Clock: f.now,
		Error: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.errors = append(f.errors, err)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Store = s
	done := make(chan struct{})
	ctx := t.Context()
	go func() {
		defer close(done)
		_ = s.Start(ctx)
	}()
	t.Cleanup(func() { <-done })
	f.await()
	return f
}

func request(name string) *v1alpha1.BreakGlass {
	return &v1alpha1.BreakGlass{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BreakGlass"},
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name, UID: types.UID("uid-" + name)},
		Spec: v1alpha1.BreakGlassSpec{
			RequestedBy: "alice", Reason: "INC-7", Duration: metav1.Duration{Duration: time.Hour},
			Scope: &v1alpha1.BreakGlassScope{Namespaces: []string{"shop"}},
		},
	}
}

func (f *fixture) object(bg *v1alpha1.BreakGlass) *unstructured.Unstructured {
	f.t.Helper()
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(bg)
	if err != nil {
		f.t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: raw}
}

func (f *fixture) create(bg *v1alpha1.BreakGlass) {
	f.t.Helper()
	if _, err := f.dynamic.Resource(breakGlasses).Namespace(bg.Namespace).Create(f.t.Context(), f.object(bg), metav1.CreateOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) update(bg *v1alpha1.BreakGlass) {
	f.t.Helper()
	if _, err := f.dynamic.Resource(breakGlasses).Namespace(bg.Namespace).Update(f.t.Context(), f.object(bg), metav1.UpdateOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) record(bg *v1alpha1.BreakGlass) Record {
	f.t.Helper()
	asked, err := Ask(bg, system, Sources{}, now)
	if err != nil {
		f.t.Fatal(err)
	}
	return NewRecord(bg, asked, now)
}

// approve does what two people and the webhook do.
func (f *fixture) approve(bg *v1alpha1.BreakGlass) Record {
	f.t.Helper()
	r := f.record(bg)
	f.create(bg)
	r.Begin("bob", f.now(), bg.Spec.Duration.Duration, 0)
	if err := f.Put(f.t.Context(), r); err != nil {
		f.t.Fatal(err)
	}
	bg.Spec.ApprovedBy = "bob"
	f.update(bg)
	f.await(system + "/" + bg.Name)
	return r
}

func TestAGrantIsActiveWhileItsRecordAndItsBreakGlassSaySo(t *testing.T) {
	const key = system + "/hotfix"
	for name, end := range map[string]func(f *fixture, bg *v1alpha1.BreakGlass, r Record){
		"until it is revoked":        func(f *fixture, bg *v1alpha1.BreakGlass, _ Record) { bg.Spec.Revoked = true; f.update(bg) },
		"until it is edited":         func(f *fixture, bg *v1alpha1.BreakGlass, _ Record) { bg.Spec.Scope = nil; f.update(bg) },
		"until another has approved": func(f *fixture, bg *v1alpha1.BreakGlass, _ Record) { bg.Spec.ApprovedBy = "mallory"; f.update(bg) },
		"until it is deleted": func(f *fixture, bg *v1alpha1.BreakGlass, _ Record) {
			if err := f.dynamic.Resource(breakGlasses).Namespace(system).Delete(f.t.Context(), bg.Name, metav1.DeleteOptions{}); err != nil {
				f.t.Fatal(err)
			}
		},
		"until it is made again under its name": func(f *fixture, bg *v1alpha1.BreakGlass, _ Record) { bg.UID = "another"; f.update(bg) },
		"until its record is gone": func(f *fixture, _ *v1alpha1.BreakGlass, r Record) {
			if err := f.client.CoreV1().Secrets(system).Delete(f.t.Context(), secretName(r.UID), metav1.DeleteOptions{}); err != nil {
				f.t.Fatal(err)
			}
		},
		"until its record is overwritten": func(f *fixture, _ *v1alpha1.BreakGlass, r Record) {
			r.ExpiresAt = new(r.ExpiresAt.Add(time.Hour))
			forged, err := encode(r, newKey(f.t, "b"), system)
			if err != nil {
				f.t.Fatal(err)
			}
			if _, err := f.client.CoreV1().Secrets(system).Update(f.t.Context(), forged, metav1.UpdateOptions{}); err != nil {
				f.t.Fatal(err)
			}
		},
		"until its end": func(f *fixture, _ *v1alpha1.BreakGlass, r Record) {
			f.set(*r.ExpiresAt)
			f.touch()
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			bg := request("hotfix")
			r := f.approve(bg)
			f.await(key)
			if !f.IsActive(bg.UID) {
				t.Error("IsActive says no")
			}
			changed := f.Changed()
			end(f, bg, r)
			f.await()
			select {
			case <-changed:
			default:
				t.Error("nobody was told")
			}
		})
	}
}

func TestWhatGrantsNothing(t *testing.T) {
	for name, make := range map[string]func(f *fixture, bg *v1alpha1.BreakGlass){
		"a request": func(f *fixture, bg *v1alpha1.BreakGlass) {
			if err := f.Put(f.t.Context(), f.record(bg)); err != nil {
				f.t.Fatal(err)
			}
			f.create(bg)
		},
		"an approval without a record": func(f *fixture, bg *v1alpha1.BreakGlass) {
			bg.Spec.ApprovedBy = "bob"
			f.create(bg)
		},
		"an approval that only the request's record stands behind": func(f *fixture, bg *v1alpha1.BreakGlass) {
			if err := f.Put(f.t.Context(), f.record(bg)); err != nil {
				f.t.Fatal(err)
			}
			bg.Spec.ApprovedBy = "bob"
			f.create(bg)
		},
		"an active status": func(f *fixture, bg *v1alpha1.BreakGlass) {
			end := metav1.NewTime(now.Add(time.Hour))
			bg.Spec.ApprovedBy = "bob"
			bg.Status = v1alpha1.BreakGlassStatus{Phase: v1alpha1.PhaseActive, ExpiresAt: &end}
			f.create(bg)
		},
		"an emergency without a record": func(f *fixture, bg *v1alpha1.BreakGlass) {
			bg.Spec.Emergency = true
			f.create(bg)
		},
		"a record without its BreakGlass": func(f *fixture, bg *v1alpha1.BreakGlass) {
			r := f.record(bg)
			r.Begin("bob", now, time.Hour, 0)
			if err := f.Put(f.t.Context(), r); err != nil {
				f.t.Fatal(err)
			}
		},
		"an approval whose write was refused later": func(f *fixture, bg *v1alpha1.BreakGlass) {
			r := f.record(bg)
			r.Begin("bob", now, time.Hour, 0)
			if err := f.Put(f.t.Context(), r); err != nil {
				f.t.Fatal(err)
			}
			f.create(bg)
		},
		"a record of another type": func(f *fixture, bg *v1alpha1.BreakGlass) {
			r := f.record(bg)
			r.Begin("bob", now, time.Hour, 0)
			secret, err := encode(r, newKey(f.t, "a"), system)
			if err != nil {
				f.t.Fatal(err)
			}
			secret.Type = corev1.SecretTypeOpaque
			if _, err := f.client.CoreV1().Secrets(system).Create(f.t.Context(), secret, metav1.CreateOptions{}); err != nil {
				f.t.Fatal(err)
			}
			bg.Spec.ApprovedBy = "bob"
			f.create(bg)
		},
		"a record under another name": func(f *fixture, bg *v1alpha1.BreakGlass) {
			r := f.record(bg)
			r.Begin("bob", now, time.Hour, 0)
			secret, err := encode(r, newKey(f.t, "a"), system)
			if err != nil {
				f.t.Fatal(err)
			}
			secret.Name = "grant-copy"
			if _, err := f.client.CoreV1().Secrets(system).Create(f.t.Context(), secret, metav1.CreateOptions{}); err != nil {
				f.t.Fatal(err)
			}
			bg.Spec.ApprovedBy = "bob"
			f.create(bg)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			bg := request("hotfix")
			make(f, bg)
			// What comes later and does count tells that the former was seen.
			f.approve(request("other"))
			if f.IsActive(bg.UID) {
				t.Error("it is active")
			}
		})
	}
}

func TestARecordIsReadAsItIsInTheCluster(t *testing.T) {
	f := newFixture(t)
	bg := request("hotfix")
	if _, ok, err := f.Read(t.Context(), bg.UID); ok || err != nil {
		t.Errorf("Read = %t, %v before there is one", ok, err)
	}
	want := f.record(bg)
	if err := f.Put(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got, ok, err := f.Read(t.Context(), bg.UID)
	if !ok || err != nil {
		t.Fatalf("Read = %t, %v", ok, err)
	}
	got.version = ""
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Record{})); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	forged, err := encode(want, newKey(t, "b"), system)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.client.CoreV1().Secrets(system).Update(t.Context(), forged, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.Read(t.Context(), bg.UID); ok || err == nil {
		t.Errorf("Read = %t, %v of a forged record, want an error", ok, err)
	}
}

func TestSweepDeletesWhatCanNeverCountAgain(t *testing.T) {
	f := newFixture(t)
	left := func(uid types.UID) bool {
		_, err := f.client.CoreV1().Secrets(system).Get(t.Context(), secretName(uid), metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return err == nil
	}
	waiting, revoked := request("waiting"), request("revoked")
	if err := f.Put(t.Context(), f.record(waiting)); err != nil {
		t.Fatal(err)
	}
	f.create(waiting)
	unmade := request("unmade")
	if err := f.Put(t.Context(), f.record(unmade)); err != nil {
		t.Fatal(err)
	}
	f.approve(revoked)
	revoked.Spec.Revoked = true
	f.update(revoked)
	f.await()
	active := request("active")
	f.approve(active)
	sweep := func() {
		t.Helper()
		if err := f.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if !left("uid-waiting") || !left("uid-unmade") || !left("uid-active") || left("uid-revoked") {
		t.Error("want all but the revoked one to be left")
	}
	f.set(now.Add(2 * time.Hour))
	sweep()
	if !left("uid-waiting") || left("uid-unmade") || !left("uid-active") {
		t.Error("want the request and the ended grant to be left")
	}
	f.set(now.Add(26 * time.Hour))
	sweep()
	if !left("uid-waiting") || left("uid-active") {
		t.Error("want the request alone to be left")
	}
}

func TestAskFillsInWhatIsNotSaid(t *testing.T) {
	refusal := Refusal{ID: "7f3k2", At: now.Add(-time.Hour), Operation: "DELETE"}
	refusal.Object.Kind, refusal.Object.Namespace, refusal.Object.Name = "ConfigMap", "shop", "settings"
	cluster := Refusal{ID: "clust", At: now, Operation: "UPDATE", Paths: []string{"rules"}}
	cluster.Object.Group, cluster.Object.Kind, cluster.Object.Name = "rbac.authorization.k8s.io", "ClusterRole", "x"
	shell := Refusal{ID: "shell", At: now, Operation: "CONNECT", SubResource: "exec"}
	shell.Object.Group, shell.Object.Kind, shell.Object.Namespace, shell.Object.Name = "apps", "Deployment", "shop", "web"
	old, long := refusal, refusal
	old.ID, old.At = "aged1", now.Add(-25*time.Hour)
	long.ID, long.Long = "long1", true
	known := []Refusal{refusal, cluster, shell, old, long}
	alice := []v1alpha1.BreakGlassSubject{{Kind: "User", Name: "alice"}}
	for name, tt := range map[string]struct {
		edit func(*v1alpha1.BreakGlass)
		want v1alpha1.BreakGlassScope
		who  []v1alpha1.BreakGlassSubject
		fail string
	}{
		"updates by the requester": {
			edit: func(*v1alpha1.BreakGlass) {}, who: alice,
			want: v1alpha1.BreakGlassScope{Namespaces: []string{"shop"}, Operations: []string{"UPDATE"}},
		},
		"a service account that asks": {
			edit: func(bg *v1alpha1.BreakGlass) { bg.Spec.RequestedBy = "system:serviceaccount:ci:deployer" },
			who:  []v1alpha1.BreakGlassSubject{{Kind: "ServiceAccount", Namespace: "ci", Name: "deployer"}},
			want: v1alpha1.BreakGlassScope{Namespaces: []string{"shop"}, Operations: []string{"UPDATE"}},
		},
		"the namespace of the request": {
			edit: func(bg *v1alpha1.BreakGlass) { bg.Namespace, bg.Spec.Scope = "bank", &v1alpha1.BreakGlassScope{} }, who: alice,
			want: v1alpha1.BreakGlassScope{Namespaces: []string{"bank"}, Operations: []string{"UPDATE"}},
		},
		"another namespace": {edit: func(bg *v1alpha1.BreakGlass) { bg.Namespace = "bank" }, fail: "can only be about objects of that namespace"},
		"two namespaces": {edit: func(bg *v1alpha1.BreakGlass) {
			bg.Namespace = "shop"
			bg.Spec.Scope.Namespaces = []string{"shop", "bank"}
		}, fail: "can only be about objects of that namespace"},
		"the whole cluster":       {edit: func(bg *v1alpha1.BreakGlass) { bg.Spec.Scope = &v1alpha1.BreakGlassScope{Paths: []string{"**"}} }, fail: "would cover the whole cluster"},
		"a path that is none":     {edit: func(bg *v1alpha1.BreakGlass) { bg.Spec.Scope.Paths = []string{"a", "b..c"} }, fail: "spec.scope.paths[1]"},
		"neither":                 {edit: func(bg *v1alpha1.BreakGlass) { bg.Spec.Scope = nil }, fail: "neither decision nor scope"},
		"an unknown decision":     {edit: decision(system, "zzzzz"), fail: "decision zzzzz is not known (any more): use spec.scope"},
		"an old decision":         {edit: decision(system, "aged1"), fail: "decision aged1 is not known (any more)"},
		"a decision without room": {edit: decision(system, "long1"), fail: "more fields than are remembered"},
		"a decision": {
			edit: decision(system, "7f3k2"), who: alice,
			want: v1alpha1.BreakGlassScope{Namespaces: []string{"shop"}, Kinds: []string{"ConfigMap.core"}, Names: []string{"settings"}, Operations: []string{"DELETE"}},
		},
		"a decision about a pod": {
			edit: decision("shop", "shell"), who: alice,
			want: v1alpha1.BreakGlassScope{Namespaces: []string{"shop"}, Kinds: []string{"Deployment.apps"}, Names: []string{"web"}, Operations: []string{"CONNECT"}, SubResources: []string{"exec"}},
		},
		"a decision of another namespace": {edit: decision("bank", "7f3k2"), fail: "decision 7f3k2 is about ConfigMap shop/settings"},
		"a decision about the cluster": {
			edit: decision(system, "clust"), who: alice,
			want: v1alpha1.BreakGlassScope{Kinds: []string{"ClusterRole.rbac.authorization.k8s.io"}, Names: []string{"x"}, Operations: []string{"UPDATE"}, Paths: []string{"rules"}},
		},
		"a decision about the cluster, from a namespace": {edit: decision("shop", "clust"), fail: "can only be about objects of that namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			bg := request("hotfix")
			tt.edit(bg)
			got, err := Ask(bg, system, Sources{Refusal: func(id string) (Refusal, bool) {
				for _, r := range known {
					if r.ID == id {
						return r, true
					}
				}
				return Refusal{}, false
			}}, now)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("Ask = %+v, %v, want %q", got, err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Asked{Scope: tt.want, Subjects: tt.who}, got); diff != "" {
				t.Errorf("Ask (-want +got):\n%s", diff)
			}
		})
	}
}

func decision(namespace, id string) func(*v1alpha1.BreakGlass) {
	return func(bg *v1alpha1.BreakGlass) { bg.Namespace, bg.Spec.Scope, bg.Spec.Decision = namespace, nil, id }
}
