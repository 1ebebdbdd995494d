// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	mainstayconfig "github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/grant"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/seal"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/inventory"
	"github.com/mainstay-gitops/mainstay/sync/source"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m)) }

// stage is a loop against a real API server, with a repository of its own. The
// webhook and the permits are fakes: nothing is refused here, so that tests can
// make the drift that the loop is for.
type theatre struct {
	t      *testing.T
	loop   *Loop
	client client.Client
	repo   string
	sync   types.NamespacedName
	off    *fakeOff
	// suspended are the GitSyncs that a test suspends.
	suspended *fakeSuspended
	recorded  *fakeRecorder
	registry  *prometheus.Registry
	counter   *requestCounter
	permits   *permit.Store
	grants    *fakeGrants
	clock     *fakeClock
	// deps and options are the loop's, depose ends it.
	deps    Deps
	options Options
	depose  func()
}

// fakeOff is the ConfigMap mainstay-off.
type fakeOff struct {
	mu          sync.Mutex
	from, until time.Time
}

func (f *fakeOff) State(now time.Time) (bool, string, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return now.Before(f.until), "test", f.until
}

func (f *fakeOff) Asked() (string, time.Time, time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "test", f.from, f.until, !f.until.IsZero()
}

func (f *fakeOff) Remove(context.Context, time.Time) error {
	f.set(false)
	return nil
}

// set makes the ConfigMap, for an hour, or deletes it.
func (f *fakeOff) set(active bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from, f.until = time.Time{}, time.Time{}
	if active {
		f.from, f.until = time.Now(), time.Now().Add(time.Hour)
	}
}

type fakeSuspended struct {
	mu      sync.Mutex
	state   map[types.NamespacedName]suspend.Suspension
	changed chan struct{}
}

func newFakeSuspended() *fakeSuspended {
	return &fakeSuspended{state: map[types.NamespacedName]suspend.Suspension{}, changed: make(chan struct{})}
}

func (f *fakeSuspended) State(sync types.NamespacedName, now time.Time) (suspend.Suspension, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.state[sync]
	return s, ok && now.Before(s.Until)
}

func (f *fakeSuspended) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fakeSuspended) set(sync types.NamespacedName, s suspend.Suspension) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state[sync] = s
	close(f.changed)
	f.changed = make(chan struct{})
}

type fakeRegistration struct{}

func (fakeRegistration) Ensure(context.Context) error { return nil }
func (fakeRegistration) State() (string, string)      { return "Fail", "" }
func (fakeRegistration) Changed() <-chan struct{}     { return nil }
func (fakeRegistration) Sees(r schema.GroupResource) bool {
	return r.Group != "admissionregistration.k8s.io" && r.Group != "coordination.k8s.io"
}

// fakeGrants says of every change what the test says.
type fakeGrants struct {
	mu      sync.Mutex
	outcome grant.Outcome
	settled []string
	turned  chan struct{}
}

func (f *fakeGrants) Outcome(permit.Permit, time.Time) grant.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.outcome
}

func (f *fakeGrants) Turned() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.turned
}

func (f *fakeGrants) Settled(p permit.Permit, how string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settled = append(f.settled, p.Path+" "+how)
}

func (f *fakeGrants) set(o grant.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcome = o
	close(f.turned)
	f.turned = make(chan struct{})
}

func (f *fakeGrants) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.settled)
}

// fakeClock is the real one, set by a step.
type fakeClock struct{ step atomic.Int64 }

func (f *fakeClock) now() time.Time { return time.Now().Add(time.Duration(f.step.Load())) }

// fakeRecorder remembers the decisions.
type fakeRecorder struct {
	t  *testing.T
	mu sync.Mutex
	// decisions about what was put back.
	decisions []policy.Decision
	// events are the steps that were told.
	events []string
}

// told tells how often a step was told of in these words.
func (r *fakeRecorder) told(words string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if strings.Contains(e, words) {
			n++
		}
	}
	return n
}

func (r *fakeRecorder) last() policy.Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.decisions[len(r.decisions)-1]
}

func (r *fakeRecorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.decisions)
}

func (r *fakeRecorder) Record(c *policy.Change, d policy.Decision) {
	if d.Verdict == policy.Refuse {
		r.mu.Lock()
		r.decisions = append(r.decisions, d)
		r.mu.Unlock()
	}
	if d.Event != "" {
		r.mu.Lock()
		r.events = append(r.events, d.Event+" "+c.ID().String()+": "+d.Reason)
		r.mu.Unlock()
	}
	var paths []string
	for _, f := range c.Fields {
		paths = append(paths, f.Path.String())
	}
	r.t.Logf("recorded %s %s %s: %s %v %v", c.Origin, c.Operation, c.ID(), d.Verdict, paths, d.Errors)
}
func (*fakeRecorder) Refused24h(types.NamespacedName) int32 { return 0 }

func newTheatre(t *testing.T) *theatre {
	t.Helper()
	config := rest.CopyConfig(apiserver.Config(t, "admin"))
	config.QPS = -1
	counter := new(requestCounter)
	config.Wrap(counter.wrap)
	scheme := runtime.NewScheme()
	must(t, clientgoscheme.AddToScheme(scheme))
	must(t, v1alpha1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	must(t, err)
	httpClient, err := rest.HTTPClientFor(config)
	must(t, err)
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	must(t, err)

	namespace := apiserver.Namespace(t)
	secret, err := seal.Generate()
	must(t, err)
	key, err := seal.NewKey(secret)
	must(t, err)
	index := ownership.NewIndex()
	store, err := inventory.New(inventory.Options{Client: c, Key: key, Namespace: namespace, Index: index})
	must(t, err)
	src, err := source.New(source.Options{Dir: t.TempDir()})
	must(t, err)
	raw, err := apply.ClientFor(config, httpClient)
	must(t, err)
	applier, err := apply.New(apply.Options{Client: raw})
	must(t, err)
	engine, err := policy.New(t.Context(), policy.Options{
		MaskSecret: key.Mask, PersonManagers: mainstayconfig.Default().Policies.PersonFieldManagers,
	})
	must(t, err)
	off, suspended := &fakeOff{}, newFakeSuspended()
	clock, grants := &fakeClock{}, &fakeGrants{turned: make(chan struct{})}
	kube, err := kubernetes.NewForConfigAndClient(config, httpClient)
	must(t, err)
	permits, err := permit.New(permit.Options{Client: kube, Namespace: namespace, Key: key, Clock: clock.now})
	must(t, err)
	recorded, registry := &fakeRecorder{t: t}, prometheus.NewRegistry()
	deps := Deps{
		Client: c, Config: config, HTTPClient: httpClient, Mapper: mapper,
		Index: index, Inventory: store, Source: src, Applier: applier,
		Policies: engine, Judge: engine, Permits: permits, Grants: grants, Recorder: recorded,
		Registration: fakeRegistration{}, Off: off, Suspended: suspended,
		Events: events.NewFakeRecorder(1000), Registerer: registry,
		Key: key, Await: func(context.Context) error { return nil },
	}
	options := Options{
		Namespace: namespace, TenantFileSources: true, AfterOutage: 30 * time.Minute, Clock: clock.now,
		Notices: []time.Duration{30 * time.Minute, 5 * time.Minute},
	}
	s := &theatre{
		t: t, deps: deps, options: options, client: c, repo: filepath.Join(t.TempDir(), "repo"), off: off, suspended: suspended,
		recorded: recorded, registry: registry, counter: counter,
		permits: permits, grants: grants, clock: clock,
		sync: types.NamespacedName{Namespace: namespace, Name: "shop"},
	}
	s.lead()
	s.git("init", "-q", "-b", "main", s.repo)
	s.push("README.md", "a repository")
	must(t, c.Create(t.Context(), &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "shop"},
		Spec: v1alpha1.GitSyncSpec{
			Source:      v1alpha1.Source{URL: "file://" + s.repo, Ref: v1alpha1.Ref{Branch: "main"}, Path: "."},
			Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
			Health:      v1alpha1.HealthIgnore, // there is no node, so that no pod ever runs
		},
	}))
	return s
}

// lead starts a loop that knows what the one before it has left in the cluster,
// and nothing else.
func (s *theatre) lead() {
	s.t.Helper()
	if s.depose != nil {
		s.depose()
		s.registry = prometheus.NewRegistry()
		s.deps.Registerer = s.registry
	}
	l, err := New(s.deps, s.options)
	must(s.t, err)
	ctx, cancel := context.WithCancel(ctrl.LoggerInto(s.t.Context(), testr.New(s.t)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Start(ctx); err != nil {
			s.t.Errorf("the loop ended: %v", err)
		}
	}()
	s.depose = func() { cancel(); <-done }
	s.t.Cleanup(s.depose)
	s.loop = l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *theatre) git(args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "git", append([]string{"-c", "user.name=Bo", "-c", "user.email=bo@example.org"}, args...)...)
	if _, err := os.Stat(s.repo); err == nil {
		cmd.Dir = s.repo
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// push commits a file; an empty content removes it. NS stands for the test's
// namespace.
func (s *theatre) push(file, content string) {
	s.t.Helper()
	if content == "" {
		s.git("rm", "-q", file)
	} else {
		content = strings.ReplaceAll(content, "NS", s.sync.Namespace)
		must(s.t, os.MkdirAll(filepath.Dir(filepath.Join(s.repo, file)), 0o755))
		must(s.t, os.WriteFile(filepath.Join(s.repo, file), []byte(content), 0o600))
		s.git("add", file)
	}
	s.git("commit", "-q", "-m", "change "+file)
}

// look reconciles once and returns the GitSync.
func (s *theatre) look() *v1alpha1.GitSync {
	s.t.Helper()
	_, err := s.loop.Reconcile(s.t.Context(), reconcile.Request{NamespacedName: s.sync})
	must(s.t, err)
	gs := new(v1alpha1.GitSync)
	must(s.t, s.client.Get(s.t.Context(), s.sync, gs))
	return gs
}

func (s *theatre) synced() {
	s.t.Helper()
	gs := s.look()
	if c := meta.FindStatusCondition(gs.Status.Conditions, "Ready"); c == nil || c.Status != metav1.ConditionTrue {
		s.t.Fatalf("not synced: %+v", gs.Status.Conditions)
	}
	must(s.t, s.loop.watcher.Synced(s.t.Context()))
}

func (s *theatre) fails(reason string, words ...string) {
	s.t.Helper()
	s.loop.pass(s.sync).notBefore = time.Time{}
	gs := s.look()
	c := meta.FindStatusCondition(gs.Status.Conditions, "Ready")
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != reason {
		s.t.Fatalf("Ready = %+v, want False with reason %s", c, reason)
	}
	for _, w := range words {
		if w = strings.ReplaceAll(w, "NS", s.sync.Namespace); !strings.Contains(c.Message, w) {
			s.t.Errorf("message %q does not say %q", c.Message, w)
		}
	}
}

// await waits until the condition holds.
func (s *theatre) await(what string, condition func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute) // for a busy machine
	for !condition() {
		if time.Now().After(deadline) {
			s.t.Fatalf("never came true: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *theatre) get(name string, into client.Object) error {
	return s.client.Get(s.t.Context(), types.NamespacedName{Namespace: s.sync.Namespace, Name: name}, into)
}

const web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.27
        resources: {requests: {cpu: 1000m, memory: 1024Mi}}
`

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: NS}\ndata: {key: %q}\n", name, value)
}

func TestACommitIsAppliedAndDriftIsReverted(t *testing.T) {
	s := newTheatre(t)
	s.push("web.yaml", web)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()

	var d appsv1.Deployment
	must(t, s.get("web", &d))

	t.Run("a declared field that slipped in is put back", func(t *testing.T) {
		must(t, s.get("web", &d))
		d.Spec.Template.Spec.Containers[0].Image = "nginx:1.28"
		must(t, s.client.Update(t.Context(), &d, client.FieldOwner("kubectl-edit")))
		s.await("the image is git's", func() bool {
			must(t, s.get("web", &d))
			return d.Spec.Template.Spec.Containers[0].Image == "nginx:1.27"
		})
	})
	t.Run("a sidecar that a person added goes", func(t *testing.T) {
		patch := []byte(`[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"evil","image":"evil:1"}}]`)
		must(t, s.client.Patch(t.Context(), &d, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner("kubectl-edit")))
		s.await("the sidecar is gone", func() bool {
			must(t, s.get("web", &d))
			return len(d.Spec.Template.Spec.Containers) == 1
		})
	})
	t.Run("an annotation of a controller stays", func(t *testing.T) {
		patch := []byte(`{"metadata":{"annotations":{"controller/note":"x"}}}`)
		must(t, s.client.Patch(t.Context(), &d, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("some-controller")))
		patch = []byte(`{"spec":{"replicas":7}}`)
		must(t, s.client.Patch(t.Context(), &d, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("kubectl-patch")))
		s.await("replicas are git's", func() bool {
			must(t, s.get("web", &d))
			return *d.Spec.Replicas == 2
		})
		if d.Annotations["controller/note"] != "x" {
			t.Errorf("annotations = %v", d.Annotations)
		}
	})
	t.Run("wiping the managed fields hides nothing", func(t *testing.T) {
		patch := []byte(`[{"op":"replace","path":"/metadata/managedFields","value":[{}]},
			{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"nginx:evil"},
			{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"evil","image":"evil:1"}}]`)
		must(t, s.client.Patch(t.Context(), &d, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner("kubectl-edit")))
		s.await("git's image and no sidecar", func() bool {
			must(t, s.get("web", &d))
			c := d.Spec.Template.Spec.Containers
			return len(c) == 1 && c[0].Image == "nginx:1.27"
		})
	})
	t.Run("a deleted object comes back", func(t *testing.T) {
		uid := d.UID
		must(t, s.client.Delete(t.Context(), &d))
		s.await("web exists anew", func() bool {
			err := s.get("web", &d)
			return err == nil && d.UID != uid && d.DeletionTimestamp.IsZero()
		})
	})
	t.Run("the ownership label comes back", func(t *testing.T) {
		var cm corev1.ConfigMap
		must(t, s.get("settings", &cm))
		patch := []byte(`{"metadata":{"labels":{"mainstay.dev/sync":null}}}`)
		must(t, s.client.Patch(t.Context(), &cm, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("kubectl-label")))
		s.await("the label is there", func() bool {
			must(t, s.get("settings", &cm))
			return cm.Labels[v1alpha1.SyncLabel] != ""
		})
	})
	t.Run("what leaves git is pruned", func(t *testing.T) {
		s.push("cm.yaml", "")
		s.synced()
		var cm corev1.ConfigMap
		if err := s.get("settings", &cm); !apierrors.IsNotFound(err) {
			t.Errorf("settings: %v", err)
		}
	})
	t.Run("the last good commit is enforced while a newer one fails", func(t *testing.T) {
		s.push("bad.yaml", "apiVersion: v1\nkind: ConfigMap\n")
		s.fails("RenderFailed", "bad.yaml:1")
		patch := []byte(`{"spec":{"replicas":9}}`)
		must(t, s.client.Patch(t.Context(), &d, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("kubectl-patch")))
		s.await("replicas are git's", func() bool {
			must(t, s.get("web", &d))
			return *d.Spec.Replicas == 2
		})
	})
}

func TestBadInput(t *testing.T) {
	s := newTheatre(t)
	s.push("cm.yaml", configMap("settings", "one"))
	s.synced()
	for name, tt := range map[string]struct {
		content string
		reason  string
		words   []string
	}{
		"a kind that is not installed": {
			"apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\n",
			"KindNotInstalled",
			[]string{"bad.yaml:1", "Widget", "install its CustomResourceDefinition"},
		},
		"a namespace that does not exist": {
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: nowhere}\n",
			"NamespaceNotFound",
			[]string{"bad.yaml:1", "namespace nowhere does not exist"},
		},
		"an object that the API server refuses": {
			strings.ReplaceAll(strings.ReplaceAll(web, "name: web, namespace", "name: bad, namespace"), "matchLabels: {app: web}", "matchLabels: {app: other}"),
			"PlanFailed",
			[]string{"bad.yaml:1", "Deployment.apps NS/bad", "selector"},
		},
		"a field that the schema does not have": {
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndatum: {a: b}\n",
			"PlanFailed",
			[]string{"bad.yaml:1", "datum"},
		},
		"no namespace": {
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
			"Invalid",
			[]string{"bad.yaml:1", "metadata.namespace"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.push("bad.yaml", tt.content)
			s.fails(tt.reason, tt.words...)
			var cm corev1.ConfigMap
			must(t, s.get("settings", &cm))
			if n := s.loop.Index.Len(); n != 1 {
				t.Errorf("%d objects are held, want 1", n)
			}
		})
	}
	t.Run("an emptied path prunes nothing", func(t *testing.T) {
		s.push("bad.yaml", "")
		s.push("cm.yaml", "")
		s.fails("EmptyRender", "nothing is pruned")
		var cm corev1.ConfigMap
		must(t, s.get("settings", &cm))
	})
}

func TestACustomResourceAndItsDefinitionInOneCommit(t *testing.T) {
	s := newTheatre(t)
	s.push("crd.yaml", `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.loop.example.org}
spec:
  group: loop.example.org
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              items:
                type: array
                items: {type: object, properties: {name: {type: string}, weight: {type: integer, default: 5}}}
---
apiVersion: loop.example.org/v1
kind: Gadget
metadata: {name: g, namespace: NS}
spec: {items: [{name: a}, {name: b}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: NS-inner}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: NS-inner}
`)
	s.synced()
	var reverts int32
	s.await("everything was compared", func() bool {
		_, _, reverts = s.loop.guard.counts(s.sync)
		s.loop.guard.mu.Lock()
		defer s.loop.guard.mu.Unlock()
		return len(s.loop.guard.agreed) == 4
	})
	if reverts != 0 {
		t.Errorf("%d reverts of what nobody changed", reverts)
	}
}
