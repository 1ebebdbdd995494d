// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fastjson"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
	"github.com/mainstay-gitops/mainstay/config/crds"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/grant"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/seal"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/inventory"
	"github.com/mainstay-gitops/mainstay/sync/loop"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// stage is a sync loop of this process on the real API server, with a
// repository of its own. No webhook is registered, so that drift can be made.
type stage struct {
	*bench
	namespace string
	repo      string
	index     *ownership.Index
	loop      *loop.Loop
	counter   *counter
	client    client.Client
	stop      func()
}

type registered struct{}

func (registered) Ensure(context.Context) error   { return nil }
func (registered) State() (mode, message string)  { return "Fail", "" }
func (registered) Changed() <-chan struct{}       { return nil }
func (registered) Sees(schema.GroupResource) bool { return true }

func (permits) WrittenDeletion(ownership.ID) (permit.Permit, bool) { return permit.Permit{}, false }
func (permits) WrittenFor(types.UID) []permit.Permit               { return nil }
func (permits) Value(*fastjson.Value) string                       { return "" }
func (permits) Written(types.UID, string, *fastjson.Value) (permit.Permit, bool) {
	return permit.Permit{}, false
}

func (permits) All() []permit.Permit                        { return nil }
func (permits) Delete(context.Context, permit.Permit) error { return nil }

// grants there are none.
type grants struct{}

func (grants) Outcome(permit.Permit, time.Time) grant.Outcome {
	return grant.Outcome{Fate: grant.Undone}
}
func (grants) Turned() <-chan struct{}       { return nil }
func (grants) Settled(permit.Permit, string) {}

type recorder struct{}

func (recorder) Record(*policy.Change, policy.Decision) {}
func (recorder) Refused24h(types.NamespacedName) int32  { return 0 }

type off struct{}

func (off) State(time.Time) (active bool, reason string, until time.Time) {
	return false, "", time.Time{}
}

func (off) Asked() (reason string, from, until time.Time, ok bool) {
	return "", time.Time{}, time.Time{}, false
}
func (off) Remove(context.Context, time.Time) error { return nil }

type suspended struct{}

func (suspended) State(types.NamespacedName, time.Time) (suspend.Suspension, bool) {
	return suspend.Suspension{}, false
}
func (suspended) Changed() <-chan struct{} { return nil }

type events struct{}

func (events) Eventf(_, _ runtime.Object, _, _, _, _ string, _ ...any) {}

// counter sees the loop's requests for objects.
type counter struct {
	next http.RoundTripper
	// below is where the objects are.
	below string

	mu              sync.Mutex
	dryRuns, writes int
	// first and last are the begin of the first and the end of the last write.
	first, last time.Time
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	response, err := c.next.RoundTrip(r)
	if r.Method == http.MethodGet || !strings.Contains(r.URL.Path, c.below) {
		return response, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.URL.Query().Has("dryRun") {
		c.dryRuns++
		return response, err
	}
	c.writes++
	if c.first.IsZero() {
		c.first = start
	}
	c.last = time.Now()
	return response, err
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dryRuns, c.writes, c.first, c.last = 0, 0, time.Time{}, time.Time{}
}

// newStage starts a loop in a namespace of its own.
func (b *bench) newStage(name string) (*stage, error) {
	cluster, err := b.server()
	if err != nil {
		return nil, err
	}
	config := cluster.RESTConfig(controlplane.Admin)
	counted := &counter{below: "/namespaces/" + name + "-objects/"}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { counted.next = next; return counted })
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme, HTTPClient: httpClient})
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		return nil, err
	}
	secret, err := seal.Generate()
	if err != nil {
		return nil, err
	}
	key, err := seal.NewKey(secret)
	if err != nil {
		return nil, err
	}
	s := &stage{bench: b, namespace: name, repo: filepath.Join(b.dir, name), index: ownership.NewIndex(), counter: counted, client: c}
	err = errors.Join(
		c.Create(b.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}),
		c.Create(b.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name + "-objects"}}),
		c.Create(b.ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: v1alpha1.KeySecret}, Type: v1alpha1.SecretTypeKey, Data: map[string][]byte{v1alpha1.KeySecretKey: secret},
		}),
	)
	if err != nil {
		return nil, err
	}
	store, err := inventory.New(inventory.Options{Client: c, Key: key, Namespace: name, Index: s.index})
	if err != nil {
		return nil, err
	}
	repositories, err := source.New(source.Options{Dir: filepath.Join(b.dir, name+"-cache")})
	if err != nil {
		return nil, err
	}
	raw, err := apply.ClientFor(config, httpClient)
	if err != nil {
		return nil, err
	}
	applier, err := apply.New(apply.Options{Client: raw})
	if err != nil {
		return nil, err
	}
	engine, err := newEngine(b.ctx, policies(20, true))
	if err != nil {
		return nil, err
	}
	s.loop, err = loop.New(loop.Deps{
		Client: c, Config: config, HTTPClient: httpClient, Mapper: mapper,
		Key: key, Index: s.index, Inventory: store, Source: repositories, Applier: applier,
		Policies: engine, Judge: engine, Permits: permits{}, Grants: grants{}, Recorder: recorder{},
		Registration: registered{}, Off: off{}, Suspended: suspended{}, Events: events{},
		Await: func(context.Context) error { return nil },
	}, loop.Options{Namespace: name})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- s.loop.Start(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			fmt.Fprintln(os.Stderr, "the loop ended:", err)
		}
		httpClient.CloseIdleConnections()
	})
	b.stops = append(b.stops, s.stop)
	return s, s.git("init", "-q", "-b", "main", s.repo)
}

func (s *stage) git(args ...string) error {
	cmd := exec.CommandContext(s.ctx, "git", append([]string{"-c", "user.name=Bo", "-c", "user.email=bo@example.org"}, args...)...)
	if args[0] != "init" {
		cmd.Dir = s.repo
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// commit writes n objects, 100 in a file, and declares them by a GitSync.
func (s *stage) commit(n int, make func(namespace string, i int) object) error {
	for start := 0; start < n; start += 100 {
		var file strings.Builder
		for i := start; i < min(start+100, n); i++ {
			file.WriteString("---\n")
			file.Write(encode(make(s.namespace+"-objects", i)))
			file.WriteString("\n")
		}
		if err := os.WriteFile(filepath.Join(s.repo, fmt.Sprintf("settings-%03d.yaml", start/100)), []byte(file.String()), 0o600); err != nil {
			return err
		}
	}
	if err := errors.Join(s.git("add", "."), s.git("commit", "-q", "-m", "settings")); err != nil {
		return err
	}
	return s.client.Create(s.ctx, &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: syncName},
		Spec: v1alpha1.GitSyncSpec{
			Source:      v1alpha1.Source{URL: "file://" + s.repo, Ref: v1alpha1.Ref{Branch: "main"}, Path: "."},
			Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
			Health:      v1alpha1.HealthIgnore,                 // there is no node, so that no pod ever runs
			Timeout:     &metav1.Duration{Duration: time.Hour}, // of 50,000 objects on a busy machine
		},
	})
}

func configMap(namespace string, i int) object {
	return object{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": object{"namespace": namespace, "name": fmt.Sprintf("settings-%05d", i), "labels": object{"app.kubernetes.io/part-of": "shop"}},
		"data":     object{"key": "git", "replicas": "3", "text": strings.Repeat("a line of settings\n", 10)},
	}
}

// sync reconciles once and makes sure that the objects are held.
func (s *stage) sync() (time.Duration, error) {
	key := types.NamespacedName{Namespace: s.namespace, Name: syncName}
	start := time.Now()
	if _, err := s.loop.Reconcile(s.ctx, reconcile.Request{NamespacedName: key}); err != nil {
		return 0, err
	}
	took := time.Since(start)
	gs := &v1alpha1.GitSync{}
	if err := s.client.Get(s.ctx, key, gs); err != nil {
		return 0, err
	}
	if c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Status != metav1.ConditionTrue {
		return 0, fmt.Errorf("not synced: %+v", gs.Status.Conditions)
	}
	return took, nil
}

// close stops the loop and takes away what it declared, so that the next one
// is alone in the cluster.
func (s *stage) close() error {
	s.stop()
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: syncName}}
	return errors.Join(
		s.client.Patch(s.ctx, gs, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))),
		s.client.Delete(s.ctx, gs),
		s.deleteAll(&v1alpha1.Inventory{}, s.namespace),
		s.deleteAll(&corev1.ConfigMap{}, s.namespace+"-objects"),
		s.deleteAll(&appsv1.Deployment{}, s.namespace+"-objects"),
	)
}

// deleteAll deletes all objects of a kind in a namespace: of so many that one
// request has no time for all, those that are left with the next.
func (s *stage) deleteAll(kind client.Object, namespace string) error {
	for {
		err := s.client.DeleteAllOf(s.ctx, kind, client.InNamespace(namespace))
		if !apierrors.IsTimeout(err) && !apierrors.IsServerTimeout(err) {
			return err
		}
	}
}

// request asks for a sync although the commit is the same.
func (s *stage) request(value string) error {
	gs := &v1alpha1.GitSync{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: syncName}}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.RequestedAtAnnotation, value)
	return s.client.Patch(s.ctx, gs, client.RawPatch(types.MergePatchType, patch))
}

func definitions() []*unstructured.Unstructured {
	all, err := crds.All()
	if err != nil {
		panic(err) // They are part of this program.
	}
	var out []*unstructured.Unstructured
	for _, crd := range all {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(crd)
		if err != nil {
			panic(err) // As above.
		}
		delete(content, "status")
		out = append(out, &unstructured.Unstructured{Object: content})
	}
	return out
}
