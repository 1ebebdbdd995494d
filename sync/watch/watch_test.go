// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package watch_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fastjson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/sync/watch"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

func TestMain(m *testing.M) {
	os.Exit(apiserver.Main(m, apiserver.Options{WithoutControllerManager: true}))
}

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets    = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// view is what a handler was told, of one namespace.
type view struct {
	namespace string

	mu     sync.Mutex
	live   map[string]string // value by resource/name
	gone   map[string]int
	listed map[string]map[watch.Name]bool
	lists  int
}

func newView(namespace string) *view {
	return &view{namespace: namespace, live: map[string]string{}, gone: map[string]int{}, listed: map[string]map[watch.Name]bool{}}
}

func (v *view) Seen(resource schema.GroupVersionResource, namespace, name string, raw []byte) {
	if namespace != v.namespace {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	object, err := fastjson.ParseBytes(raw)
	if err != nil {
		v.live[resource.Resource+"/"+name] = "unreadable: " + err.Error()
		return
	}
	v.live[resource.Resource+"/"+name] = string(object.GetStringBytes("data", "key"))
}

func (v *view) Gone(resource schema.GroupVersionResource, namespace, name string) {
	if namespace != v.namespace {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.live, resource.Resource+"/"+name)
	v.gone[resource.Resource+"/"+name]++
}

func (v *view) Listed(resource schema.GroupVersionResource, names map[watch.Name]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listed[resource.Resource] = names
	v.lists++
}

// value of a live object, and whether it was seen and is not gone.
func (v *view) value(key string) (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, ok := v.live[key]
	return value, ok
}

func (v *view) isGone(key string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.gone[key] > 0
}

// stage is a watcher on a namespace of a real API server.
type stage struct {
	t         *testing.T
	kube      kubernetes.Interface
	namespace string
	view      *view
	watcher   *watch.Watcher
	lines     *lines
}

// lines are the watcher's connections, which can be cut.
type lines struct {
	mu   sync.Mutex
	open map[net.Conn]bool
	down bool
}

func (l *lines) dial(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, errors.New("the line is down")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		l.open[conn] = true
	}
	return conn, err
}

// cut ends every connection; new ones are refused until mend.
func (l *lines) cut() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	n := len(l.open)
	for conn := range l.open {
		_ = conn.Close()
		delete(l.open, conn)
	}
	return n
}

func (l *lines) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

func newStage(t *testing.T) *stage {
	t.Helper()
	direct := apiserver.Config(t, "admin")
	kube, err := kubernetes.NewForConfig(direct)
	must(t, err)
	s := &stage{t: t, kube: kube, namespace: apiserver.Namespace(t), lines: &lines{open: map[net.Conn]bool{}}}
	s.view = newView(s.namespace)
	config := rest.CopyConfig(direct)
	config.Dial = s.lines.dial
	client, err := rest.HTTPClientFor(config)
	must(t, err)
	s.watcher, err = watch.New(watch.Options{Config: config, Client: client, Handler: s.view})
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) follow(resources ...schema.GroupVersionResource) {
	s.t.Helper()
	must(s.t, s.watcher.Follow(s.t.Context(), resources))
	must(s.t, s.watcher.Synced(s.t.Context()))
}

func (s *stage) create(name, value string, labels map[string]string) {
	s.t.Helper()
	_, err := s.kube.CoreV1().ConfigMaps(s.namespace).Create(s.t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: map[string]string{"key": value},
	}, metav1.CreateOptions{})
	must(s.t, err)
}

func (s *stage) patch(name, patch string) {
	s.t.Helper()
	_, err := s.kube.CoreV1().ConfigMaps(s.namespace).Patch(s.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	must(s.t, err)
}

func (s *stage) delete(name string) {
	s.t.Helper()
	must(s.t, s.kube.CoreV1().ConfigMaps(s.namespace).Delete(s.t.Context(), name, metav1.DeleteOptions{}))
}

func (s *stage) await(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("never came true: %s", what)
		}
	}
}

func (s *stage) awaitValue(name, want string) {
	s.t.Helper()
	s.await(name+" is seen with "+want, func() bool {
		got, ok := s.view.value("configmaps/" + name)
		return ok && got == want
	})
}

func held() map[string]string { return map[string]string{v1alpha1.SyncLabel: "shop.0123"} }

func TestObjectsWithTheLabelAreSeenAsTheyChange(t *testing.T) {
	s := newStage(t)
	s.create("before", "one", held())
	s.create("unheld", "x", nil)
	s.follow(configMaps)

	t.Run("what was there is listed", func(t *testing.T) {
		if got, ok := s.view.value("configmaps/before"); !ok || got != "one" {
			t.Errorf("before = %q, %t, want one", got, ok)
		}
		s.view.mu.Lock()
		defer s.view.mu.Unlock()
		if names := s.view.listed["configmaps"]; !names[watch.Name{Namespace: s.namespace, Name: "before"}] ||
			names[watch.Name{Namespace: s.namespace, Name: "unheld"}] {
			t.Errorf("listed: %v, want the held object and not the other", names)
		}
	})
	t.Run("a new object", func(*testing.T) {
		s.create("new", "one", held())
		s.awaitValue("new", "one")
	})
	t.Run("a change, whatever its characters", func(*testing.T) {
		s.patch("new", `{"data":{"key":"tü\u0007\n<&>"}}`)
		s.awaitValue("new", "tü\a\n<&>")
	})
	t.Run("losing the label is going", func(*testing.T) {
		s.patch("new", `{"metadata":{"labels":{"mainstay.dev/sync":null}}}`)
		s.await("new is gone", func() bool { return s.view.isGone("configmaps/new") })
	})
	t.Run("getting it is coming", func(*testing.T) {
		s.patch("unheld", `{"metadata":{"labels":{"mainstay.dev/sync":"shop.0123"}}}`)
		s.awaitValue("unheld", "x")
	})
	t.Run("a deletion", func(*testing.T) {
		s.delete("before")
		s.await("before is gone", func() bool { return s.view.isGone("configmaps/before") })
	})
}

func TestNothingIsMissedWhenTheConnectionIsCut(t *testing.T) {
	s := newStage(t)
	s.create("kept", "one", held())
	s.create("deleted", "one", held())
	s.follow(configMaps)
	s.create("probe", "one", held())
	s.awaitValue("probe", "one") // the watch is open

	if n := s.lines.cut(); n == 0 {
		t.Fatal("there was no connection to cut")
	}
	s.patch("kept", `{"data":{"key":"two"}}`)
	s.delete("deleted")
	s.create("made", "one", held())
	s.lines.mend()

	s.awaitValue("kept", "two")
	s.awaitValue("made", "one")
	s.await("the deletion is known", func() bool {
		s.view.mu.Lock()
		defer s.view.mu.Unlock()
		// By an event, where the watch was resumed; by its absence, where
		// everything was listed anew.
		return s.view.gone["configmaps/deleted"] > 0 ||
			s.view.lists > 1 && !s.view.listed["configmaps"][watch.Name{Namespace: s.namespace, Name: "deleted"}]
	})
	s.patch("kept", `{"data":{"key":"three"}}`)
	s.awaitValue("kept", "three")
}

func TestFollowWatchesExactlyWhatItIsGiven(t *testing.T) {
	s := newStage(t)
	s.create("cm", "one", held())
	_, err := s.kube.CoreV1().Secrets(s.namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "s", Labels: held()},
	}, metav1.CreateOptions{})
	must(t, err)

	s.follow(configMaps)
	if _, ok := s.view.value("secrets/s"); ok {
		t.Error("a resource is watched that nobody asked for")
	}
	t.Run("another resource is added", func(t *testing.T) {
		lists := s.view.lists
		s.follow(configMaps, secrets)
		if _, ok := s.view.value("secrets/s"); !ok {
			t.Error("once synced, the Secret was not seen")
		}
		if s.view.lists != lists+1 {
			t.Errorf("%d lists, want one: what was watched already is not listed again", s.view.lists-lists)
		}
	})
	t.Run("a resource is let go", func(t *testing.T) {
		s.follow(secrets)
		// The stopped watch may hand on what it had received already, so the
		// proof is a change that it can no longer see.
		s.await("changes of ConfigMaps are no longer seen", func() bool {
			value := time.Now().String()
			s.patch("cm", `{"data":{"key":"`+strings.ReplaceAll(value, `"`, "")+`"}}`)
			must(t, s.kube.CoreV1().Secrets(s.namespace).Delete(t.Context(), "s", metav1.DeleteOptions{}))
			s.await("the Secret's deletion is seen", func() bool { return s.view.isGone("secrets/s") })
			got, _ := s.view.value("configmaps/cm")
			if got != value {
				return true
			}
			_, err := s.kube.CoreV1().Secrets(s.namespace).Create(t.Context(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "s", Labels: held()},
			}, metav1.CreateOptions{})
			must(t, err)
			return false
		})
	})
	t.Run("and taken up again", func(t *testing.T) {
		s.patch("cm", `{"data":{"key":"again"}}`)
		s.follow(configMaps, secrets)
		if got, _ := s.view.value("configmaps/cm"); got != "again" {
			t.Errorf("once synced, the value is %q, want again", got)
		}
	})
}

func TestAResourceThatIsNotInstalledDoesNotDelayTheOthers(t *testing.T) {
	s := newStage(t)
	s.create("cm", "one", held())
	widgets := schema.GroupVersionResource{Group: "watch.example.org", Version: "v1", Resource: "widgets"}
	must(t, s.watcher.Follow(t.Context(), []schema.GroupVersionResource{widgets, configMaps}))
	s.awaitValue("cm", "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.watcher.Synced(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Synced: %v, want it to wait for the resource until its context ends", err)
	}
}

func TestNewNamesTheOptionThatIsMissing(t *testing.T) {
	full := watch.Options{Config: &rest.Config{}, Client: http.DefaultClient, Handler: newView("x")}
	for option, without := range map[string]func(o *watch.Options){
		"Config":  func(o *watch.Options) { o.Config = nil },
		"Client":  func(o *watch.Options) { o.Client = nil },
		"Handler": func(o *watch.Options) { o.Handler = nil },
	} {
		o := full
		without(&o)
		if _, err := watch.New(o); err == nil || !strings.Contains(err.Error(), option+" is required") {
			t.Errorf("without %s: %v", option, err)
		}
	}
}
