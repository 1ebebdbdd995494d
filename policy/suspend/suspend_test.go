// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package suspend

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/seal"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

// stage is one replica's view of a GitSync on the real API server.
type stage struct {
	*Suspensions
	t       *testing.T
	client  client.Client
	permits *permit.Store
	key     *seal.Key
	sync    types.NamespacedName
	uid     types.UID
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStage(t *testing.T) *stage {
	t.Helper()
	config := apiserver.Config(t, "admin")
	scheme := runtime.NewScheme()
	must(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	must(t, err)
	gs := &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: apiserver.Namespace(t), Name: "shop"},
		Spec: v1alpha1.GitSyncSpec{
			Source:      v1alpha1.Source{URL: "https://git.example.org/shop.git", Ref: v1alpha1.Ref{Branch: "main"}},
			Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
		},
	}
	must(t, c.Create(t.Context(), gs))
	secret, err := seal.Generate()
	must(t, err)
	key, err := seal.NewKey(secret)
	must(t, err)
	s := &stage{t: t, client: c, key: key, sync: client.ObjectKeyFromObject(gs), uid: gs.UID}
	s.Suspensions, s.permits = s.replica()
	return s
}

// replica starts another one.
func (s *stage) replica() (*Suspensions, *permit.Store) {
	s.t.Helper()
	config := apiserver.Config(s.t, "admin")
	kube, err := kubernetes.NewForConfig(config)
	must(s.t, err)
	meta, err := metadata.NewForConfig(config)
	must(s.t, err)
	permits, err := permit.New(permit.Options{Client: kube, Namespace: s.sync.Namespace, Key: s.key})
	must(s.t, err)
	suspensions, err := New(Options{Client: meta, Permits: permits})
	must(s.t, err)
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{}, 2)
	for _, part := range []interface{ Start(context.Context) error }{permits, suspensions} {
		go func() {
			_ = part.Start(ctx)
			done <- struct{}{}
		}()
	}
	s.t.Cleanup(func() { cancel(); <-done; <-done })
	await(s.t, "what is in the cluster is known", func() bool { return permits.Synced() && suspensions.Synced() })
	return suspensions, permits
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// annotate writes the annotation as whoever holds no webhook back would; an
// empty value takes it off.
func (s *stage) annotate(value string) {
	s.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.SuspendAnnotation, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, v1alpha1.SuspendAnnotation)
	}
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.sync.Namespace, Name: s.sync.Name}}
	must(s.t, s.client.Patch(s.t.Context(), gs, client.RawPatch(types.MergePatchType, []byte(patch))))
}

func (s *stage) begin(value string) Suspension {
	s.t.Helper()
	begun, err := s.Begin(s.t.Context(), Asked{Sync: s.sync, UID: s.uid, Value: value, By: "alice", Decision: "7f3k2", At: time.Now()})
	must(s.t, err)
	return begun
}

func (s *stage) suspended() bool {
	_, ok := s.State(s.sync, time.Now())
	return ok
}

// seen waits until the replica has seen the annotation as it is now.
func (s *stage) seen(value string) {
	s.t.Helper()
	await(s.t, "the annotation is seen", func() bool {
		obj, ok, err := s.informer.GetStore().GetByKey(s.sync.String())
		must(s.t, err)
		if !ok {
			return false
		}
		return obj.(*metav1.PartialObjectMetadata).Annotations[v1alpha1.SuspendAnnotation] == value
	})
	s.read()
}

func TestEveryReplicaKnowsASuspension(t *testing.T) {
	s := newStage(t)
	other, _ := s.replica()
	changed := other.Changed()
	begun := s.begin("1h INC-4711 bad rollout")
	s.read()
	if s.suspended() {
		t.Error("the record alone suspends")
	}
	s.annotate("1h INC-4711 bad rollout")
	<-changed
	got, ok := other.State(s.sync, time.Now())
	if !ok || !same(got, begun) || got.By != "alice" || got.Reason != "INC-4711 bad rollout" || got.Until.Sub(got.Since) != time.Hour {
		t.Errorf("the other replica knows %+v, %v, want %+v", got, ok, begun)
	}
	if _, ok := other.State(s.sync, got.Until); ok {
		t.Error("it has no end")
	}
	if _, ok := other.State(types.NamespacedName{Namespace: s.sync.Namespace, Name: "till"}, time.Now()); ok {
		t.Error("another GitSync is suspended, too")
	}
	late, _ := s.replica()
	await(t, "a replica that starts later knows it", func() bool { _, ok := late.State(s.sync, time.Now()); return ok })
	t.Run("until the annotation goes", func(t *testing.T) {
		changed := other.Changed()
		s.annotate("")
		<-changed
		if _, ok := other.State(s.sync, time.Now()); ok {
			t.Error("it goes on")
		}
	})
}

func TestASuspensionEndsByItself(t *testing.T) {
	s := newStage(t)
	s.begin("300ms INC-4711")
	s.annotate("300ms INC-4711")
	await(t, "it begins", s.suspended)
	changed := s.Changed()
	if s.suspended() {
		<-changed // nobody writes anything
	}
	if s.suspended() {
		t.Error("it goes on")
	}
	late, _ := s.replica()
	late.read()
	if _, ok := late.State(s.sync, time.Now()); ok {
		t.Error("a replica that starts later takes it for one in force")
	}
}

func TestAForgedAnnotationSuspendsNothing(t *testing.T) {
	for name, forge := range map[string]func(s *stage) string{
		"nobody was asked": func(*stage) string { return "24h forged" },
		"another value was permitted": func(s *stage) string {
			s.begin("1h INC-4711")
			return "24h INC-4711"
		},
		"it was ended": func(s *stage) string {
			s.begin("1h INC-4711")
			must(s.t, s.End(s.t.Context(), s.sync, s.uid))
			return "1h INC-4711"
		},
		"it was for another object of that name": func(s *stage) string {
			s.uid = "another"
			s.begin("1h INC-4711")
			return "1h INC-4711"
		},
		"a permit of another rule": func(s *stage) string {
			until := time.Now().Add(time.Hour)
			must(s.t, s.permits.Put(s.t.Context(), permit.Permit{
				UID: s.uid, ID: id(s.sync), Path: Path, Value: s.permits.Value(text("1h INC-4711")), Rule: "hpa.exception", At: time.Now(), Until: &until,
			}))
			return "1h INC-4711"
		},
		"a permit without an end": func(s *stage) string {
			must(s.t, s.permits.Put(s.t.Context(), permit.Permit{
				UID: s.uid, ID: id(s.sync), Path: Path, Value: s.permits.Value(text("1h INC-4711")), Rule: Rule, At: time.Now(),
			}))
			return "1h INC-4711"
		},
		"a record that another key sealed": func(s *stage) string {
			secret, err := seal.Generate()
			must(s.t, err)
			own := s.key
			s.key, err = seal.NewKey(secret)
			must(s.t, err)
			forger, _ := s.replica()
			s.key = own
			_, err = forger.Begin(s.t.Context(), Asked{Sync: s.sync, UID: s.uid, Value: "1h INC-4711", By: "mallory", At: time.Now()})
			must(s.t, err)
			return "1h INC-4711"
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			value := forge(s)
			s.annotate(value)
			s.seen(value)
			if s.suspended() {
				t.Error("it suspends")
			}
			// The same annotation counts once it is recorded.
			uid := s.uid
			gs := new(v1alpha1.GitSync)
			must(t, s.client.Get(t.Context(), s.sync, gs))
			s.uid = gs.UID
			s.begin(value)
			await(t, "it counts once it is recorded, from "+string(uid), s.suspended)
		})
	}
}

func TestBeginAsksForWhatItNeeds(t *testing.T) {
	s := newStage(t)
	for name, asked := range map[string]Asked{
		"no uid":     {Sync: s.sync, Value: "1h why", At: time.Now()},
		"no reason":  {Sync: s.sync, UID: s.uid, Value: "1h", At: time.Now()},
		"too long":   {Sync: s.sync, UID: s.uid, Value: "25h why", At: time.Now()},
		"no context": {Sync: s.sync, UID: s.uid, Value: "1h why", At: time.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			if name == "no context" {
				cancel()
			}
			defer cancel()
			if got, err := s.Begin(ctx, asked); err == nil {
				t.Errorf("begun: %+v", got)
			}
			if n := len(s.permits.All()); n > 0 {
				t.Errorf("%d records", n)
			}
		})
	}
	if got := id(s.sync); got != (ownership.ID{Group: "mainstay.dev", Kind: "GitSync", Namespace: s.sync.Namespace, Name: "shop"}) {
		t.Errorf("id %+v", got)
	}
}
