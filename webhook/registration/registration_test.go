// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/webhook"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	namespace = "mainstay-system"
	account   = "system:serviceaccount:mainstay-system:mainstay"
	token     = "0123456789abcdef0123456789abcdef"
)

type declaredAs struct{ group, version, kind, resource, namespace, name string }

var shop = []declaredAs{
	{"apps", "v1", "Deployment", "deployments", "shop", "web"},
	{"apps", "v1", "Deployment", "deployments", "pay", "api"},
	{"apps", "v1", "DaemonSet", "daemonsets", "kube-system", "agent"},
	{"", "v1", "ConfigMap", "configmaps", "shop", "settings"},
	{"", "v1", "ConfigMap", "configmaps", namespace, "own"},
	{"", "v1", "Namespace", "namespaces", "", "shop"},
	{"rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "", "reader"},
	{"example.com", "v1", "Widget", "widgets", "widgets", "one"},
	{"mainstay.dev", "v1alpha1", "GitSync", "gitsyncs", namespace, "shop"},
	// What no webhook sees, or none may delay.
	{"admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "", "x"},
	{"", "v1", "Pod", "pods", "shop", "bare"},
	{"coordination.k8s.io", "v1", "Lease", "leases", "shop", "lease"},
	{"discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "shop", "slice"},
}

func index(t *testing.T, objects ...declaredAs) *ownership.Index {
	t.Helper()
	x := ownership.NewIndex()
	declare(t, x, 1, objects...)
	return x
}

func declare(t *testing.T, x *ownership.Index, generation int64, objects ...declaredAs) {
	t.Helper()
	declareFor(t, x, ownership.Sync{Name: "shop", Mode: v1alpha1.ModeEnforce, Generation: generation}, objects...)
}

func declareFor(t *testing.T, x *ownership.Index, sync ownership.Sync, objects ...declaredAs) {
	t.Helper()
	var entries []*ownership.Entry
	for _, o := range objects {
		entries = append(entries, &ownership.Entry{
			ID: ownership.ID{Group: o.group, Kind: o.kind, Namespace: o.namespace, Name: o.name}, Version: o.version, Resource: o.resource,
		})
	}
	sync.Namespace = namespace
	sync.Generation = max(sync.Generation, 1)
	if err := x.Replace(&sync, entries); err != nil {
		t.Fatal(err)
	}
}

// many is what a larger repository has.
var many = []declaredAs{
	{"apps", "v1", "StatefulSet", "statefulsets", "db", "postgres"},
	{"apps", "v1", "ReplicaSet", "replicasets", "db", "bare"},
	{"", "v1", "ReplicationController", "replicationcontrollers", "old", "rc"},
	{"batch", "v1", "CronJob", "cronjobs", "db", "backup"},
	{"networking.k8s.io", "v1", "Ingress", "ingresses", "front", "site"},
	{"apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "", "crontabs.stable.example.com"},
	{"stable.example.com", "v1", "CronTab", "crontabs", "db", "one"},
	{"stable.example.com", "v1beta1", "Report", "reports", "", "cluster-wide"},
	{"gateway.networking.k8s.io", "v1", "Gateway", "gateways", "front", "edge"},
	{"", "v1", "ServiceAccount", "serviceaccounts", "kube-node-lease", "apart"},
	{"", "v1", "Secret", "secrets", "db", "password"},
}

type inventory struct {
	sync    ownership.Sync
	objects []declaredAs
}

func TestConfiguration(t *testing.T) {
	service := Endpoint{Service: &ServicePort{Namespace: namespace, Name: "mainstay"}}
	enforced := func(objects ...declaredAs) []inventory {
		return []inventory{{ownership.Sync{Name: "shop", Mode: v1alpha1.ModeEnforce}, objects}}
	}
	tests := map[string]struct {
		inventories []inventory
		options     Options
		unproven    bool
		off         bool
	}{
		"shop":            {inventories: enforced(shop...)},
		"unproven":        {inventories: enforced(shop...), unproven: true},
		"off":             {inventories: enforced(shop[:1]...), options: Options{ScaleFail: true}, off: true},
		"scale-fails":     {inventories: enforced(shop[:1]...), options: Options{ScaleFail: true, TimeoutSeconds: 5}},
		"nothing-by-url":  {options: Options{Endpoint: Endpoint{URL: "https://127.0.0.1:9443"}}},
		"cluster-scope":   {inventories: enforced(shop[6]), options: Options{Connect: func() []string { return []string{"exec"} }}},
		"unseen-resource": {inventories: enforced(shop[9:]...)},
		"many-kinds":      {inventories: enforced(many...)},
		"no-shells": {inventories: enforced(shop[:1]...), options: Options{Connect: func() []string {
			return []string{"resize", "portforward", "exec", "attach", "ephemeralcontainers", "eviction", "binding", "log"}
		}}},
		"no-exec": {inventories: enforced(shop[:1]...), options: Options{Connect: func() []string { return []string{"exec"} }}},
		"observe-beside-enforce": {inventories: []inventory{
			{ownership.Sync{Name: "shop", Mode: v1alpha1.ModeEnforce}, shop[:2]},
			{ownership.Sync{Name: "trial", Mode: v1alpha1.ModeObserve, Controllers: v1alpha1.ControllersCorrect}, slices.Concat(many, shop[9:])},
		}},
		"only-observe": {inventories: []inventory{{ownership.Sync{Name: "trial", Mode: v1alpha1.ModeObserve}, many[:7]}}},
		"correct": {inventories: []inventory{
			{ownership.Sync{Name: "shop", Mode: v1alpha1.ModeEnforce, Controllers: v1alpha1.ControllersCorrect}, slices.Concat(shop[:2], shop[5:9])},
			{ownership.Sync{Name: "audited", Mode: v1alpha1.ModeAudit, Controllers: v1alpha1.ControllersCorrect}, many[:1]},
			{ownership.Sync{Name: "strict", Mode: v1alpha1.ModeEnforce, Controllers: v1alpha1.ControllersRefuse}, many[4:5]},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			x := ownership.NewIndex()
			for _, i := range test.inventories {
				declareFor(t, x, i.sync, i.objects...)
			}
			off := &offSwitch{changed: make(chan struct{})}
			if test.off {
				off.set(time.Now().Add(time.Hour))
			}
			f := newFixture(t, newCluster(), func(o *Options) {
				o.Index, o.Endpoint, o.Off = x, service, off
				o.ScaleFail, o.TimeoutSeconds, o.Connect = test.options.ScaleFail, test.options.TimeoutSeconds, test.options.Connect
				if test.options.Endpoint.URL != "" {
					o.Endpoint = test.options.Endpoint
				}
			})
			f.proven = !test.unproven
			golden(t, filepath.Join("testdata", name+".yaml"), f.wantedNow())
		})
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, ok := tests[strings.TrimSuffix(filepath.Base(file), ".yaml")]; !ok {
			t.Errorf("%s belongs to no test", file)
		}
	}
}

// wantedNow is what the leader publishes.
func (f *fixture) wantedNow() pair {
	want, _ := f.wanted(pair{})
	return want
}

func golden(t *testing.T, file string, p pair) {
	t.Helper()
	got, err := yaml.Marshal(toValidating(p.validating))
	if err != nil {
		t.Fatal(err)
	}
	if p.mutating != nil {
		p.mutating.TypeMeta = metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"}
		raw, err := yaml.Marshal(p.mutating)
		if err != nil {
			t.Fatal(err)
		}
		got = slices.Concat(got, []byte("---\n"), raw)
	}
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestNothingThatMayNotWaitIsRegistered(t *testing.T) {
	x := ownership.NewIndex()
	declareFor(t, x, ownership.Sync{Name: "shop", Mode: v1alpha1.ModeEnforce, Controllers: v1alpha1.ControllersCorrect}, shop...)
	declareFor(t, x, ownership.Sync{Name: "trial", Mode: v1alpha1.ModeObserve}, shop...)
	d := desired{
		declared: read(x, namespace), endpoint: Endpoint{URL: "https://x"}, namespace: namespace, syncAccount: account, token: token, fail: true,
	}
	configurations := d.configurations()
	for _, w := range slices.Concat(configurations.validating.Webhooks, configurations.mutating.Webhooks) {
		for _, r := range w.Rules {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					parent, _, _ := strings.Cut(resource, "/")
					switch parent {
					case "pods", "nodes", "leases", "events", "endpoints", "endpointslices", "*":
						t.Errorf("%s registers %s.%s", w.Name, resource, group)
					}
				}
				if group == "admissionregistration.k8s.io" || group == "*" {
					t.Errorf("%s registers group %s", w.Name, group)
				}
			}
		}
	}
}

func TestSameToleratesWhatOthersMayAdd(t *testing.T) {
	want := desired{
		declared: read(index(t, shop...), namespace), endpoint: Endpoint{URL: "https://x"}, namespace: namespace, syncAccount: account, token: token, fail: true,
	}.configurations().validating
	ignore := admissionregistrationv1.Ignore
	tests := map[string]struct {
		edit func(*configuration)
		same bool
	}{
		"nothing":                 {func(*configuration) {}, true},
		"a label of someone else": {func(c *configuration) { c.Labels["team"] = "x" }, true},
		"an enforcer's expression": {func(c *configuration) {
			s := c.Webhooks[0].NamespaceSelector
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: "control-plane", Operator: metav1.LabelSelectorOpDoesNotExist})
		}, true},
		"another expression": {func(c *configuration) {
			s := c.Webhooks[0].NamespaceSelector
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: "team", Operator: metav1.LabelSelectorOpDoesNotExist})
		}, false},
		"an entry fails open": {func(c *configuration) { c.Webhooks[0].FailurePolicy = &ignore }, false},
		"an entry is gone":    {func(c *configuration) { c.Webhooks = c.Webhooks[1:] }, false},
		"a rule is gone": {func(c *configuration) {
			c.Webhooks[0].Rules = c.Webhooks[0].Rules[1:]
		}, false},
		"our label is gone": {func(c *configuration) { delete(c.Labels, NameLabel) }, false},
		"the trust is replaced": {func(c *configuration) {
			c.Webhooks[0].ClientConfig.CABundle = []byte("x")
		}, false},
		"a condition is added": {func(c *configuration) {
			c.Webhooks[0].MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "never", Expression: "false"}}
		}, false},
		"the enforcer is allowed": {func(c *configuration) {
			c.Annotations[enforcerAnnotation] = "false"
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			have := want.DeepCopy()
			test.edit(have)
			if got := same(want, have); got != test.same {
				t.Errorf("same = %v, want %v", got, test.same)
			}
			if got := intact(have); got != test.same {
				t.Errorf("intact = %v, want %v", got, test.same)
			}
			if !same(want, merged(want, have)) {
				t.Error("merging does not bring it back")
			}
		})
	}
}

// cluster is a fake API server that sends canaries to a webhook where the
// configuration in force says so.
type cluster struct {
	*fake.Clientset
	mu        sync.Mutex
	reachable bool
	probes    int
	// refuse is what the API server says to a dry run; nil for nothing.
	refuse error
}

// newCluster returns a fake API server that, unlike client-go's, stores nothing
// in a dry run.
func newCluster() *cluster {
	c := &cluster{Clientset: fake.NewClientset()}
	dry := func(action clienttesting.Action) (bool, runtime.Object, error) {
		var object runtime.Object
		var dryRun []string
		switch a := action.(type) {
		case clienttesting.CreateActionImpl:
			object, dryRun = a.GetObject(), a.CreateOptions.DryRun
		case clienttesting.UpdateActionImpl:
			object, dryRun = a.GetObject(), a.UpdateOptions.DryRun
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(dryRun) > 0, object, c.refuse
	}
	c.PrependReactor("create", "*", dry)
	c.PrependReactor("update", "*", dry)
	return c
}

func reachable(c *cluster) *cluster {
	c.reach(true)
	return c
}

func (c *cluster) probe(ctx context.Context, canary []byte) error {
	c.mu.Lock()
	reachable := c.reachable
	c.probes++
	c.mu.Unlock()
	var inventory v1alpha1.Inventory
	if err := json.Unmarshal(canary, &inventory); err != nil {
		return err
	}
	have, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err != nil || have.Annotations[ConfigurationAnnotation] != inventory.Annotations[ConfigurationAnnotation] || !reachable {
		return nil //nolint:nilerr // without a configuration the canary is created
	}
	return errors.New(`admission webhook "own.mainstay.dev" denied the request: ` + webhook.CanaryMessage(inventory.Annotations[webhook.CanaryAnnotation]))
}

func (c *cluster) reach(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reachable = yes
}

type offSwitch struct {
	mu      sync.Mutex
	until   time.Time
	changed chan struct{}
}

func (o *offSwitch) State(now time.Time) (bool, string, time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return now.Before(o.until), "INC-4711", o.until
}

func (o *offSwitch) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

func (o *offSwitch) set(until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.until = until
	close(o.changed)
	o.changed = make(chan struct{})
}

type fixture struct {
	*Registration
	cluster *cluster
	index   *ownership.Index
	off     *offSwitch
}

func newFixture(t *testing.T, c *cluster, edits ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{cluster: c, index: index(t, shop...), off: &offSwitch{changed: make(chan struct{})}}
	never := make(chan struct{})
	options := Options{
		Client: c, Index: f.index, Bundle: func() []byte { return []byte(bundle) },
		BundleChanged: func() <-chan struct{} { return never }, Endpoint: Endpoint{URL: "https://127.0.0.1:9443"},
		Namespace: namespace, SyncAccount: account, Token: token, Off: f.off, Probe: c.probe,
	}
	for _, edit := range edits {
		edit(&options)
	}
	r, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	f.Registration = r
	return f
}

const bundle = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

func (f *fixture) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = f.Start(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	// Unlike an API server, the fake forgets what happens before a watch begins.
	await(t, "the watch", func() bool {
		return slices.ContainsFunc(f.cluster.Actions(), func(a clienttesting.Action) bool { return a.GetVerb() == "watch" })
	})
}

func (f *fixture) get(t *testing.T) *configuration {
	t.Helper()
	c, err := f.cluster.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return fromValidating(c)
}

// policies are the failure policies by entry.
func policies(c *configuration) map[string]string {
	out := map[string]string{}
	if c != nil {
		for _, w := range c.Webhooks {
			out[strings.TrimSuffix(w.Name, suffix)] = string(*w.FailurePolicy)
		}
	}
	return out
}

var (
	open   = map[string]string{"held": "Ignore", "own": "Ignore", "created": "Ignore", "status": "Ignore", "scale": "Ignore"}
	closed = map[string]string{"held": "Fail", "own": "Fail", "created": "Ignore", "status": "Ignore", "scale": "Ignore"}
)

// await waits until a condition holds.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: never", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (f *fixture) awaitPolicies(t *testing.T, want map[string]string) {
	t.Helper()
	await(t, "the wanted failure policies", func() bool { return cmp.Equal(want, policies(f.get(t))) })
}

func TestNothingFailsClosedBeforeTheWebhookIsReached(t *testing.T) {
	f := newFixture(t, newCluster())
	f.start(t)
	await(t, "three probes", func() bool { f.cluster.mu.Lock(); defer f.cluster.mu.Unlock(); return f.cluster.probes >= 3 })
	if diff := cmp.Diff(open, policies(f.get(t))); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if got := f.State(); got.Mode != Ignore || !strings.Contains(got.Message, "was not seen to reach") {
		t.Errorf("state %+v", got)
	}
	f.cluster.reach(true)
	f.awaitPolicies(t, closed)
	await(t, "the state Fail", func() bool { return f.State().Mode == Fail })
}

func TestAnEditedConfigurationComesBack(t *testing.T) {
	f := newFixture(t, reachable(newCluster()))
	f.start(t)
	f.awaitPolicies(t, closed)
	await(t, "the state Fail", func() bool { return f.State().Mode == Fail })
	configurations := f.cluster.AdmissionregistrationV1().ValidatingWebhookConfigurations()

	if err := configurations.Delete(t.Context(), Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.awaitPolicies(t, closed)

	edited := f.get(t)
	ignore := admissionregistrationv1.Ignore
	for i := range edited.Webhooks {
		edited.Webhooks[i].FailurePolicy = &ignore
	}
	edited.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "rancher", Time: &metav1.Time{Time: time.Now()}}}
	if _, err := configurations.Update(t.Context(), toValidating(edited), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.awaitPolicies(t, closed)

	if err := configurations.Delete(t.Context(), Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.awaitPolicies(t, closed)
	if err := configurations.Delete(t.Context(), Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the fight is named", func() bool { return strings.Contains(f.State().Message, "again and again") })
}

func TestANewKindIsCoveredBeforeItsFirstObject(t *testing.T) {
	f := newFixture(t, reachable(newCluster()))
	if err := f.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	declare(t, f.index, 2, append(shop, declaredAs{"batch", "v1", "Job", "jobs", "shop", "migrate"})...)
	if err := f.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	var found bool
	for _, r := range f.get(t).Webhooks[0].Rules {
		found = found || r.APIGroups[0] == "batch"
	}
	if !found {
		t.Error("the new kind is not registered")
	}
	if diff := cmp.Diff(closed, policies(f.get(t))); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	f.cluster.reach(false)
	declare(t, f.index, 3, shop...)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := f.Ensure(ctx); err == nil {
		t.Error("a configuration that no canary has met counts as in force")
	}
}

func TestOffOpensTheEntriesForATime(t *testing.T) {
	f := newFixture(t, reachable(newCluster()))
	f.start(t)
	f.awaitPolicies(t, closed)
	f.off.set(time.Now().Add(300 * time.Millisecond))
	f.awaitPolicies(t, open)
	await(t, "the state Off", func() bool { return f.State().Mode == Off || f.State().Mode == Fail })
	f.awaitPolicies(t, closed)
}

func TestAnotherTokenIsProvenAnew(t *testing.T) {
	c := reachable(newCluster())
	if err := newFixture(t, c).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.reach(false)
	other := strings.Repeat("0", 32)
	after := newFixture(t, c, func(o *Options) { o.Token = other })
	if _, err := after.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(open, policies(after.get(t))); diff != "" {
		t.Errorf("before a canary went by the new paths (-want +got):\n%s", diff)
	}
	c.reach(true)
	if err := after.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	have := after.get(t)
	if diff := cmp.Diff(closed, policies(have)); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	for _, w := range have.Webhooks {
		if url := *w.ClientConfig.URL; !strings.Contains(url, "/admit/"+other+"/") {
			t.Errorf("%s is asked at %s", w.Name, url)
		}
	}
}

func TestARestartOpensNoGap(t *testing.T) {
	c := reachable(newCluster())
	before := newFixture(t, c)
	if err := before.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.reach(false)
	c.ClearActions()
	ready := false
	after := newFixture(t, c, func(o *Options) { o.Ready = func() bool { return ready } })
	for range 3 {
		if _, err := after.step(t.Context()); err != nil {
			t.Fatal(err)
		}
		ready = true
	}
	for _, action := range c.Actions() {
		if action.GetVerb() != "get" {
			t.Errorf("a restart did %s", action.GetVerb())
		}
	}
	if diff := cmp.Diff(closed, policies(after.get(t))); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}

	elsewhere := newFixture(t, c, func(o *Options) { o.Endpoint.URL = "https://127.0.0.1:9444" })
	if _, err := elsewhere.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(open, policies(elsewhere.get(t))); diff != "" {
		t.Errorf("an endpoint that was never reached (-want +got):\n%s", diff)
	}
}

func TestANewLeaderPublishesAtOnce(t *testing.T) {
	var leads atomic.Bool
	f := newFixture(t, reachable(newCluster()), func(o *Options) { o.Leader = leads.Load })
	f.start(t)
	if got := f.get(t); got != nil {
		t.Errorf("a replica that does not lead published %v", got)
	}
	leads.Store(true)
	f.awaitPolicies(t, closed)
}

func TestAFollowerPutsBackWhatWasPublished(t *testing.T) {
	c := reachable(newCluster())
	leader := newFixture(t, c)
	if err := leader.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	published := leader.get(t)
	follower := newFixture(t, c, func(o *Options) { o.Leader = func() bool { return false }; o.Index = ownership.NewIndex() })
	step := func() {
		t.Helper()
		if _, err := follower.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	step()
	if diff := cmp.Diff(published, follower.get(t)); diff != "" {
		t.Errorf("a follower with an empty index changed the configuration (-want +got):\n%s", diff)
	}
	configurations := c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if err := configurations.Delete(t.Context(), Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	step()
	if got := follower.get(t); got == nil || !same(published, got) {
		t.Errorf("not put back: %+v", got)
	}
	edited := follower.get(t)
	edited.Webhooks = edited.Webhooks[1:]
	if _, err := configurations.Update(t.Context(), toValidating(edited), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	step()
	if got := follower.get(t); !same(published, got) {
		t.Error("an edited configuration was not put back")
	}
}
