// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package facts_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/mainstay-gitops/mainstay/policy/facts"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

func TestMain(m *testing.M) {
	os.Exit(apiserver.Main(m, apiserver.Options{WithoutControllerManager: true}))
}

// engine needs some kinds and remembers what it is told of them.
type engine struct {
	mu      sync.Mutex
	needs   []schema.GroupKind
	changed chan struct{}
	objects map[string]map[string]any
	known   map[schema.GroupKind]bool
}

func newEngine(needs ...schema.GroupKind) *engine {
	return &engine{needs: needs, changed: make(chan struct{}), objects: map[string]map[string]any{}, known: map[schema.GroupKind]bool{}}
}

func (e *engine) SetKnown(kind schema.GroupKind, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known[kind] = known
}

func (e *engine) knows(kind schema.GroupKind) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known[kind]
}

func (e *engine) Needs() []schema.GroupKind {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.needs
}

func (e *engine) NeedsChanged() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

func (e *engine) need(needs ...schema.GroupKind) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.needs = needs
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *engine) SetObject(group, kind, namespace, name string, object map[string]any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.objects[strings.Join([]string{group, kind, namespace, name}, "/")] = object
}

func (e *engine) DeleteObject(group, kind, namespace, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.objects, strings.Join([]string{group, kind, namespace, name}, "/"))
}

func (e *engine) object(key string) map[string]any {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.objects[key]
}

// mapper knows the kinds that are installed, which may become more.
type mapper struct {
	meta.RESTMapper
	mu        sync.Mutex
	installed *meta.DefaultRESTMapper
}

func newMapper() *mapper {
	m := &mapper{installed: meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion})}
	m.install("ConfigMap")
	return m
}

func (m *mapper) install(kind string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.installed.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
}

func (m *mapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.installed.RESTMapping(gk, versions...)
}

type stage struct {
	t         *testing.T
	kube      kubernetes.Interface
	namespace string
	engine    *engine
	mapper    *mapper
	facts     *facts.Facts
}

// newStage starts to follow what the engine needs.
func newStage(t *testing.T, needs ...schema.GroupKind) *stage {
	t.Helper()
	config := apiserver.Config(t, "admin")
	kube, err := kubernetes.NewForConfig(config)
	must(t, err)
	client, err := dynamic.NewForConfig(config)
	must(t, err)
	s := &stage{t: t, kube: kube, namespace: apiserver.Namespace(t), engine: newEngine(needs...), mapper: newMapper()}
	s.facts, err = facts.New(facts.Options{Client: client, Mapper: s.mapper, Engine: s.engine})
	must(t, err)
	return s
}

func (s *stage) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error)
	go func() { done <- s.facts.Start(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Start: %v", err)
		}
	})
}

func (s *stage) configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Data: map[string]string{"key": value}}
}

func (s *stage) create(name, value string) {
	s.t.Helper()
	_, err := s.kube.CoreV1().ConfigMaps(s.namespace).Create(s.t.Context(), s.configMap(name, value), metav1.CreateOptions{})
	must(s.t, err)
}

// value of a ConfigMap as policies see it.
func (s *stage) value(name string) string {
	data, _ := s.engine.object("core/ConfigMap/" + s.namespace + "/" + name)["data"].(map[string]any)
	value, _ := data["key"].(string)
	return value
}

func (s *stage) await(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("never came true: %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	configMaps = schema.GroupKind{Group: "core", Kind: "ConfigMap"} // as policies write it
	secrets    = schema.GroupKind{Group: "core", Kind: "Secret"}
	widgets    = schema.GroupKind{Group: "example.org", Kind: "Widget"}
)

func TestPoliciesSeeTheKindsThatTheyRead(t *testing.T) {
	s := newStage(t, configMaps, widgets)
	s.create("before", "one")
	s.start()
	must(t, s.facts.Synced(t.Context()))
	if got := s.value("before"); got != "one" {
		t.Fatalf("once synced, the object that was there has value %q, want one", got)
	}
	for _, kind := range []schema.GroupKind{{Kind: "ConfigMap"}, widgets} {
		if !s.engine.knows(kind) {
			t.Errorf("%s is not known, though it was listed or is not installed", kind)
		}
	}
	if m, _ := s.engine.object("core/ConfigMap/" + s.namespace + "/before")["metadata"].(map[string]any); m["managedFields"] != nil {
		t.Error("policies see managedFields")
	}
	t.Run("as they come", func(*testing.T) {
		s.create("new", "two")
		s.await("the new object is seen", func() bool { return s.value("new") == "two" })
	})
	t.Run("as they change", func(t *testing.T) {
		_, err := s.kube.CoreV1().ConfigMaps(s.namespace).Update(t.Context(), s.configMap("new", "three"), metav1.UpdateOptions{})
		must(t, err)
		s.await("the change is seen", func() bool { return s.value("new") == "three" })
	})
	t.Run("as they go", func(t *testing.T) {
		must(t, s.kube.CoreV1().ConfigMaps(s.namespace).Delete(t.Context(), "new", metav1.DeleteOptions{}))
		s.await("the object is gone", func() bool { return s.value("new") == "" })
	})
}

func TestWatchesFollowTheNeeds(t *testing.T) {
	s := newStage(t, secrets)
	s.create("early", "one")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "s"}}
	_, err := s.kube.CoreV1().Secrets(s.namespace).Create(t.Context(), secret, metav1.CreateOptions{})
	must(t, err)
	s.start()
	seen := func() bool { return s.engine.object("core/Secret/"+s.namespace+"/s") != nil }

	t.Run("a kind that is not installed keeps nobody waiting", func(t *testing.T) {
		must(t, s.facts.Synced(t.Context()))
		if seen() || s.value("early") != "" {
			t.Error("objects are seen that nobody needs, or whose kind is unknown")
		}
	})
	t.Run("a kind is followed once it is needed", func(*testing.T) {
		s.engine.need(secrets, configMaps)
		s.await("the ConfigMap is seen", func() bool { return s.value("early") == "one" })
	})
	t.Run("a kind is followed once it is installed", func(*testing.T) {
		s.mapper.install("Secret")
		s.engine.need(secrets, configMaps)
		s.await("the Secret is seen", seen)
	})
	t.Run("a kind that nobody needs any more is left alone", func(t *testing.T) {
		s.engine.need(secrets)
		must(t, s.facts.Synced(t.Context()))
		s.create("unneeded", "x")
		// A later event of a kind that is needed: had the other been followed,
		// it would have been seen by then, or shortly.
		must(t, s.kube.CoreV1().Secrets(s.namespace).Delete(t.Context(), "s", metav1.DeleteOptions{}))
		s.await("the Secret is gone", func() bool { return !seen() })
		if s.engine.knows(schema.GroupKind{Kind: "ConfigMap"}) {
			t.Error("the kind still counts as known")
		}
		if got := s.value("unneeded"); got != "" {
			t.Errorf("value = %q, want it not to be seen", got)
		}
	})
}

func TestAWatchOutlivesWhoeverWaitedForIt(t *testing.T) {
	s := newStage(t, configMaps)
	s.start()
	ctx, cancel := context.WithCancel(t.Context())
	must(t, s.facts.Synced(ctx))
	cancel()
	s.create("later", "one")
	s.await("the object is seen", func() bool { return s.value("later") == "one" })
}

func TestSyncedEndsWithItsContext(t *testing.T) {
	s := newStage(t, configMaps)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.facts.Synced(ctx); err == nil {
		t.Error("got no error, though nothing was listed")
	}
}

func TestNewNamesTheOptionThatIsMissing(t *testing.T) {
	client, err := dynamic.NewForConfig(apiserver.Config(t, "admin"))
	must(t, err)
	full := facts.Options{Client: client, Mapper: newMapper(), Engine: newEngine()}
	for option, without := range map[string]func(o *facts.Options){
		"Client": func(o *facts.Options) { o.Client = nil },
		"Mapper": func(o *facts.Options) { o.Mapper = nil },
		"Engine": func(o *facts.Options) { o.Engine = nil },
	} {
		o := full
		without(&o)
		if _, err := facts.New(o); err == nil || !strings.Contains(err.Error(), option+" is required") {
			t.Errorf("without %s: %v", option, err)
		}
	}
}
