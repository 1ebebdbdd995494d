// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
	"github.com/mainstay-gitops/mainstay/webhook"
	"github.com/mainstay-gitops/mainstay/webhook/registration"
)

const mainstay = "system:serviceaccount:mainstay-system:mainstay"

// recording notes what the API server asks and permits it; canaries go to the
// webhook.
type recording struct {
	webhook http.Handler
	mu      sync.Mutex
	asked   []string
}

func (r *recording) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var review admissionv1.AdmissionReview
	if err == nil {
		err = json.Unmarshal(body, &review)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	asked := review.Request
	if asked.Resource.Resource == "inventories" {
		req.Body = io.NopCloser(bytes.NewReader(body))
		r.webhook.ServeHTTP(w, req)
		return
	}
	resource := asked.Resource.Resource
	if asked.SubResource != "" {
		resource += "/" + asked.SubResource
	}
	r.mu.Lock()
	r.asked = append(r.asked, fmt.Sprintf("%s: %s %s", strings.TrimPrefix(req.URL.Path, webhook.Path(token, "")), asked.Operation, resource))
	r.mu.Unlock()
	review.Response = &admissionv1.AdmissionResponse{UID: asked.UID, Allowed: true}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// take returns what was asked since the last time, sorted.
func (r *recording) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	slices.Sort(asked)
	return asked
}

// replace enters what a GitSync declares.
func replace(t *testing.T, index *ownership.Index, sync ownership.Sync, entries ...*ownership.Entry) {
	t.Helper()
	sync.Namespace = "mainstay-system"
	sync.Generation = max(sync.Generation, 1)
	if err := index.Replace(&sync, entries); err != nil {
		t.Fatal(err)
	}
}

func entry(group, kind, resource, namespace, name string) *ownership.Entry {
	return &ownership.Entry{ID: ownership.ID{Group: group, Kind: kind, Namespace: namespace, Name: name}, Version: "v1", Resource: resource}
}

// kubectl runs kubectl and fails the test where it fails.
func kubectl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := apiserver.Kubectl(t, "admin", args...); err != nil {
		t.Errorf("kubectl %v: %v\n%s", args, err, out)
	}
}

func mainstaySystem(t *testing.T) {
	t.Helper()
	if out, err := apiserver.Kubectl(t, "admin", "create", "namespace", "mainstay-system"); err != nil && !strings.Contains(out, "AlreadyExists") {
		t.Fatal(out)
	}
}

// TestTheAPIServerAsksExactlyWhatIsRegistered tries the selectors and the
// matchConditions of every entry: what each lets through, and what it does not.
func TestTheAPIServerAsksExactlyWhatIsRegistered(t *testing.T) {
	admin := client(t, apiserver.Config(t, "admin"))
	mainstaySystem(t)
	held, watched := apiserver.Namespace(t), apiserver.Namespace(t)
	elsewhere := apiserver.Namespace(t)
	label := fmt.Sprintf("%q:\"shop.0123456789\"", v1alpha1.SyncLabel)
	for _, d := range []struct{ namespace, name, labels string }{
		{held, "web", label}, {held, "other", ""}, {"kube-system", "dns", label}, {"kube-system", "proxy", ""},
	} {
		must[any](t)(admin.AppsV1().RESTClient().Post().AbsPath("/apis/apps/v1/namespaces", d.namespace, "deployments").
			Body([]byte(deployment(d.name, d.labels))).Do(t.Context()).Get())
	}
	defer func() {
		kubectl(t, "-n", "kube-system", "delete", "deployment", "dns", "proxy")
		kubectl(t, "-n", "mainstay-system", "delete", "serviceaccount", "mainstay", "other")
	}()
	kubectl(t, "label", "namespace", held, v1alpha1.SyncLabel+"=shop.0123456789")
	kubectl(t, "-n", watched, "create", "configmap", "settings")
	kubectl(t, "-n", held, "create", "configmap", "settings")
	for _, account := range [][]string{{"mainstay-system", "mainstay"}, {"mainstay-system", "other"}, {held, "mainstay"}} {
		kubectl(t, "-n", account[0], "create", "serviceaccount", account[1])
	}

	index := ownership.NewIndex()
	replace(t, index, ownership.Sync{Name: "shop", Mode: v1alpha1.ModeEnforce, Controllers: v1alpha1.ControllersCorrect},
		entry("apps", "Deployment", "deployments", held, "web"), entry("", "Namespace", "namespaces", "", held))
	replace(t, index, ownership.Sync{Name: "trial", Mode: v1alpha1.ModeObserve}, entry("", "ConfigMap", "configmaps", watched, "settings"))
	record := new(recording)
	r := serve(t, admin, index, func(o *registration.Options, server *http.Server) {
		o.SyncAccount = mainstay
		o.Connect = func() []string { return []string{"exec", "eviction"} }
		record.webhook, server.Handler = server.Handler, record
	})
	if err := r.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}

	manifest := func(kind, name, spec string) string {
		return fmt.Sprintf(`{"apiVersion":"mainstay.dev/v1alpha1","kind":%q,"metadata":{"name":%q,"namespace":"mainstay-system"},"spec":%s}`, kind, name, spec)
	}
	const (
		gitSync    = `{"source":{"url":"https://git.example.org/shop.git","ref":{"branch":"main"}},"enforcement":{"mode":"Enforce"}}`
		annotation = `{"metadata":{"annotations":{"a":"%d"}}}`
		account    = "--as=system:serviceaccount:shop:operator"
		asMainstay = "--as=" + mainstay
		masters    = "--as-group=system:masters"
	)
	turn := 0
	next := func() string { turn++; return fmt.Sprintf(annotation, turn) }
	post := func(body string, as string, path ...string) func(*testing.T) {
		return func(t *testing.T) {
			request := admin.CoreV1().RESTClient().Post().AbsPath(path...).Param("command", "sh").Param("stdout", "true").SetHeader("Content-Type", "application/json").Body([]byte(body))
			if as != "" {
				request = request.SetHeader("Impersonate-User", as).SetHeader("Impersonate-Group", "system:nodes", "system:masters")
			}
			if err := request.Do(t.Context()).Error(); err != nil && !strings.Contains(err.Error(), "not found") {
				t.Error(err)
			}
		}
	}
	run := func(args ...string) func(*testing.T) {
		return func(t *testing.T) { t.Helper(); kubectl(t, args...) }
	}
	patch := func(namespace, object, body string, more ...string) func(*testing.T) {
		return run(append([]string{"-n", namespace, "patch", object, "--type=merge", "-p", body}, more...)...)
	}
	none := []string(nil)
	steps := []struct {
		name string
		do   func(*testing.T)
		want []string
	}{
		{"a person's update", patch(held, "deployment/web", next()), []string{"held: UPDATE deployments"}},
		{"a service account's", patch(held, "deployment/web", next(), account, masters), []string{"correct: UPDATE deployments", "held: UPDATE deployments"}},
		{"Mainstay's", patch(held, "deployment/web", next(), asMainstay, masters), []string{"held: UPDATE deployments"}},
		{"an object without the label", patch(held, "deployment/other", next(), account, masters), none},
		{"a labelled object in kube-system", patch("kube-system", "deployment/dns", next()), []string{"held: UPDATE deployments"}},
		{"another in kube-system", patch("kube-system", "deployment/proxy", next()), none},

		{"a pure status write", patch(held, "deployment/web", `{"status":{"observedGeneration":3}}`, "--subresource=status"), none},
		{"an annotation by status", patch(held, "deployment/web", next(), "--subresource=status"), []string{"status: UPDATE deployments/status"}},
		{"a finalizer by status", patch(held, "deployment/web", `{"metadata":{"finalizers":["example.org/x"]}}`, "--subresource=status"), []string{"status: UPDATE deployments/status"}},
		{"an owner by status", patch(held, "deployment/web", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"u"}]}}`, "--subresource=status"), []string{"status: UPDATE deployments/status"}},
		{"neither any more", patch(held, "deployment/web", `{"metadata":{"ownerReferences":null,"finalizers":null}}`, "--subresource=status", asMainstay, masters), []string{"status: UPDATE deployments/status"}},
		{"the status of an object without the label", patch(held, "deployment/other", next(), "--subresource=status"), none},
		{"a namespace's label by status", patch("", "namespace/"+held, `{"metadata":{"labels":{"a":"b"}}}`, "--subresource=status"), []string{"status: UPDATE namespaces/status"}},
		{"a namespace's metadata by finalize", func(t *testing.T) {
			ns := must[any](t)(admin.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces", held).Do(t.Context()).Raw()).([]byte)
			changed := bytes.Replace(ns, []byte(`"labels":{`), []byte(`"annotations":{"a":"b"},"labels":{`), 1)
			for _, body := range [][]byte{changed, changed} { // the second changes nothing
				body = bytes.Replace(body, []byte(`"resourceVersion"`), []byte(`"selfLink"`), 1)
				if err := admin.CoreV1().RESTClient().Put().AbsPath("/api/v1/namespaces", held, "finalize").SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error(); err != nil {
					t.Error(err)
				}
				// An update starts from the API server's cache, and asks once
				// more when that turns out to be behind.
				for cached := []byte(nil); !bytes.Contains(cached, []byte(`"a":"b"`)) && t.Context().Err() == nil; {
					cached = must[any](t)(admin.CoreV1().RESTClient().Get().AbsPath("/api/v1/namespaces", held).Param("resourceVersion", "0").Do(t.Context()).Raw()).([]byte)
				}
			}
		}, []string{"status: UPDATE namespaces/finalize"}},

		{"a scale", patch(held, "deployment/web", `{"spec":{"replicas":3}}`, "--subresource=scale"), []string{"scale: UPDATE deployments/scale"}},
		{"a scale elsewhere", patch("kube-system", "deployment/dns", `{"spec":{"replicas":3}}`, "--subresource=scale"), none},

		{"a create where objects are held", run("-n", held, "create", "deployment", "new", "--image=x"), []string{"created: CREATE deployments"}},
		{"one by Mainstay", run("-n", held, "create", "deployment", "newer", "--image=x", asMainstay, masters), none},
		{"one elsewhere", run("-n", elsewhere, "create", "deployment", "new", "--image=x"), none},

		{"an exec", post("", "", "/api/v1/namespaces", held, "pods/p/exec"), []string{"connect: CONNECT pods/exec"}},
		{"an eviction", post(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}`, "", "/api/v1/namespaces", held, "pods/p/eviction"), []string{"connect: CREATE pods/eviction"}},
		{"an attach, which no deny asks for", post("", "", "/api/v1/namespaces", held, "pods/p/attach"), none},
		{"an exec elsewhere", post("", "", "/api/v1/namespaces", elsewhere, "pods/p/exec"), none},
		{"an exec beside observed objects", post("", "", "/api/v1/namespaces", watched, "pods/p/exec"), none},

		{"an update of what is observed", patch(watched, "configmap/settings", next()), []string{"observed: UPDATE configmaps"}},
		{"one by Mainstay", patch(watched, "configmap/settings", next(), asMainstay, masters), none},
		{"one elsewhere", patch(held, "configmap/settings", next()), none},
		{"a create beside it", run("-n", watched, "create", "configmap", "new"), none},
		{"a delete of it", run("-n", watched, "delete", "configmap", "settings"), []string{"observed: DELETE configmaps"}},

		{"a GitSync", post(manifest("GitSync", "shop", gitSync), "", "/apis/mainstay.dev/v1alpha1/namespaces/mainstay-system/gitsyncs"), []string{"own: CREATE gitsyncs"}},
		{"its annotation", patch("mainstay-system", "gitsync/shop", next()), []string{"own: UPDATE gitsyncs"}},
		{"its annotation by Mainstay", patch("mainstay-system", "gitsync/shop", next(), asMainstay, masters), []string{"own: UPDATE gitsyncs"}},
		{"its status", patch("mainstay-system", "gitsync/shop", `{"status":{"observedGeneration":1}}`, "--subresource=status"), []string{"own: UPDATE gitsyncs/status"}},
		{"its status by Mainstay", patch("mainstay-system", "gitsync/shop", `{"status":{"observedGeneration":2}}`, "--subresource=status", asMainstay, masters), none},
		{"its deletion", run("-n", "mainstay-system", "delete", "gitsync", "shop"), []string{"own: DELETE gitsyncs"}},
		{"a ChangePolicy by hand", post(manifest("ChangePolicy", "mine", `{"modules":{"a.rego":"package a"}}`), "", "/apis/mainstay.dev/v1alpha1/namespaces/mainstay-system/changepolicies"), []string{"own: CREATE changepolicies"}},
		{"its deletion", run("-n", "mainstay-system", "delete", "changepolicy", "mine"), []string{"own: DELETE changepolicies"}},
		{"a Secret", run("-n", "mainstay-system", "create", "secret", "generic", "plain"), none},
		{"a sealed one", run("-n", "mainstay-system", "create", "secret", "generic", "sealed", "--type="+string(v1alpha1.SecretTypePermit)), []string{"own: CREATE secrets"}},
		{"a sealed one elsewhere", run("-n", elsewhere, "create", "secret", "generic", "sealed", "--type="+string(v1alpha1.SecretTypePermit)), none},
		{"their deletion", run("-n", "mainstay-system", "delete", "secret", "plain", "sealed"), []string{"own: DELETE secrets"}},
		{"a token of Mainstay's account", run("-n", "mainstay-system", "create", "token", "mainstay"), []string{"own: CREATE serviceaccounts/token"}},
		{"the kubelet's, to start it", post(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":[]}}`, "system:node:one", "/api/v1/namespaces/mainstay-system/serviceaccounts/mainstay/token"), none},
		{"a token of another account", run("-n", "mainstay-system", "create", "token", "other"), none},
		{"one of the same name elsewhere", run("-n", held, "create", "token", "mainstay"), none},
		{"a namespace that holds objects", run("delete", "namespace", held, "--wait=false", "--dry-run=server"), []string{"held: DELETE namespaces", "own: DELETE namespaces"}},
		{"one that does not", run("delete", "namespace", watched, "--wait=false", "--dry-run=server"), none},
		{"a definition that nobody uses", run("label", "crd", "gitsyncs.mainstay.dev", "a=b", "--dry-run=server"), none},
	}
	record.take()
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			step.do(t)
			if diff := cmp.Diff(step.want, record.take()); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}

	raw := must[[]byte](t)(admin.Discovery().RESTClient().Get().AbsPath("/metrics").Do(t.Context()).Raw())
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "apiserver_admission_match_condition_evaluation_errors_total{") && strings.Contains(line, ".mainstay.dev") && !strings.HasSuffix(strings.TrimSpace(line), " 0") {
			t.Errorf("a matchCondition failed: %s", line)
		}
	}
	if !bytes.Contains(raw, []byte("apiserver_admission_match_condition_exclusions_total")) {
		t.Error("the API server counts no matchConditions")
	}
}

// rewrite edits both configurations until it finds nothing to do, and counts
// its writes.
func rewrite(ctx context.Context, admin kubernetes.Interface, edit func(*metav1.LabelSelector) bool) (int, error) {
	api, writes := admin.AdmissionregistrationV1(), 0
	options := metav1.UpdateOptions{FieldManager: "enforcer"}
	v, err := api.ValidatingWebhookConfigurations().Get(ctx, registration.Name, metav1.GetOptions{})
	if err == nil {
		changed := false
		for i := range v.Webhooks {
			changed = edit(v.Webhooks[i].NamespaceSelector) || changed
		}
		if changed {
			writes++
			_, err = api.ValidatingWebhookConfigurations().Update(ctx, v, options)
		}
	}
	m, other := api.MutatingWebhookConfigurations().Get(ctx, registration.Name, metav1.GetOptions{})
	if other == nil {
		changed := false
		for i := range m.Webhooks {
			changed = edit(m.Webhooks[i].NamespaceSelector) || changed
		}
		if changed {
			writes++
			_, other = api.MutatingWebhookConfigurations().Update(ctx, m, options)
		}
	}
	return writes, errors.Join(err, other)
}

// enforce adds what a managed cluster's enforcer adds.
func enforce(s *metav1.LabelSelector) bool {
	for _, e := range s.MatchExpressions {
		if e.Key == "control-plane" {
			return false
		}
	}
	s.MatchExpressions = append(s.MatchExpressions,
		metav1.LabelSelectorRequirement{Key: "control-plane", Operator: metav1.LabelSelectorOpDoesNotExist},
		metav1.LabelSelectorRequirement{Key: "kubernetes.azure.com/managedby", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"aks"}})
	return true
}

func corrected(t *testing.T, admin kubernetes.Interface) (*registration.Registration, *ownership.Index, string) {
	t.Helper()
	mainstaySystem(t)
	namespace := apiserver.Namespace(t)
	index := ownership.NewIndex()
	replace(t, index, ownership.Sync{Name: "shop", Mode: v1alpha1.ModeEnforce, Controllers: v1alpha1.ControllersCorrect},
		entry("apps", "Deployment", "deployments", namespace, "web"))
	r := serve(t, admin, index)
	if err := r.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r, index, namespace
}

// both returns both configurations as they are.
func both(t *testing.T, admin kubernetes.Interface) (*admissionregistrationv1.ValidatingWebhookConfiguration, *admissionregistrationv1.MutatingWebhookConfiguration) {
	t.Helper()
	v, err := admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), registration.Name, metav1.GetOptions{})
	if err != nil {
		v = nil
	}
	m, err := admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), registration.Name, metav1.GetOptions{})
	if err != nil {
		m = nil
	}
	return v, m
}

func TestAnEnforcerIsNotFought(t *testing.T) {
	admin := client(t, apiserver.Config(t, "admin"))
	r, _, _ := corrected(t, admin)
	ctx, cancel := context.WithCancel(t.Context())
	var writes atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			n, err := rewrite(ctx, admin, enforce)
			writes.Add(int64(n))
			if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
			time.Sleep(5 * time.Millisecond) // as often as such a controller may look
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	kept := func() bool {
		v, m := both(t, admin)
		if v == nil || m == nil {
			return false
		}
		for i := range v.Webhooks {
			if enforce(v.Webhooks[i].NamespaceSelector) {
				return false
			}
		}
		return !enforce(m.Webhooks[0].NamespaceSelector)
	}
	eventually(t, "the narrowing stands", kept)
	eventually(t, "the state says so", func() bool {
		return strings.Contains(r.State().Message, "control-plane, kubernetes.azure.com/managedby")
	})
	before := writes.Load()
	v, m := both(t, admin)
	time.Sleep(500 * time.Millisecond) // that nothing happens is what is tested
	if after, afterM := both(t, admin); after.ResourceVersion != v.ResourceVersion || afterM.ResourceVersion != m.ResourceVersion || writes.Load() != before {
		t.Errorf("written on: %s to %s, %s to %s, %d writes of the enforcer", v.ResourceVersion, after.ResourceVersion, m.ResourceVersion, afterM.ResourceVersion, writes.Load()-before)
	}

	ignore := admissionregistrationv1.Ignore
	v.Webhooks[0].FailurePolicy = &ignore
	v.Webhooks = v.Webhooks[:2]
	must[any](t)(admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Update(t.Context(), v, metav1.UpdateOptions{}))
	eventually(t, "the rest is restored, and the narrowing kept", func() bool {
		now, _ := both(t, admin)
		return now != nil && len(now.Webhooks) > 2 && *now.Webhooks[0].FailurePolicy == admissionregistrationv1.Fail && kept()
	})
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	start := time.Now()
	for !done() {
		if time.Since(start) > 5*time.Second {
			t.Fatalf("%s: not within 5 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAHostileWriterIsUndoneAndNamed(t *testing.T) {
	admin := client(t, apiserver.Config(t, "admin"))
	api := admin.AdmissionregistrationV1()
	r, _, _ := corrected(t, admin)
	eventually(t, "it is proven", func() bool { return r.State().Mode == registration.Fail })
	wantV, wantM := both(t, admin)
	options := metav1.UpdateOptions{FieldManager: "intruder"}
	restored := func(what string, change func() error) {
		t.Helper()
		if err := change(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		start := time.Now()
		eventually(t, what+" is undone", func() bool {
			v, m := both(t, admin)
			return v != nil && m != nil && cmp.Equal(v.Webhooks, wantV.Webhooks) && cmp.Equal(m.Webhooks, wantM.Webhooks)
		})
		if elapsed := time.Since(start); elapsed > time.Second {
			t.Errorf("%s was undone after %s", what, elapsed)
		}
	}
	restored("failing open", func() error {
		v, _ := both(t, admin)
		ignore := admissionregistrationv1.Ignore
		for i := range v.Webhooks {
			v.Webhooks[i].FailurePolicy = &ignore
		}
		_, err := api.ValidatingWebhookConfigurations().Update(t.Context(), v, options)
		return err
	})
	restored("a rule that is gone, and an expression that matches nothing", func() error {
		v, _ := both(t, admin)
		v.Webhooks[0].Rules[0].Operations = v.Webhooks[0].Rules[0].Operations[:1]
		v.Webhooks[1].NamespaceSelector.MatchExpressions = append(v.Webhooks[1].NamespaceSelector.MatchExpressions,
			metav1.LabelSelectorRequirement{Key: "control-plane", Operator: metav1.LabelSelectorOpExists})
		_, err := api.ValidatingWebhookConfigurations().Update(t.Context(), v, options)
		return err
	})
	empty := func() error {
		_, m := both(t, admin)
		m.Webhooks = nil
		_, err := api.MutatingWebhookConfigurations().Update(t.Context(), m, options)
		return err
	}
	restored("an empty mutating configuration", empty)
	restored("no mutating configuration", func() error {
		return api.MutatingWebhookConfigurations().Delete(t.Context(), registration.Name, metav1.DeleteOptions{})
	})
	restored("no validating configuration", func() error {
		return api.ValidatingWebhookConfigurations().Delete(t.Context(), registration.Name, metav1.DeleteOptions{})
	})
	restored("the third time for the mutating one", empty)
	_, m := both(t, admin)
	*m.Webhooks[0].TimeoutSeconds = 30
	must[any](t)(api.MutatingWebhookConfigurations().Update(t.Context(), m, options))
	eventually(t, "the other writer is named", func() bool {
		return strings.Contains(r.State().Message, "intruder edits the MutatingWebhookConfiguration mainstay again and again; it is put back once a minute")
	})
	v, m := both(t, admin)
	if *m.Webhooks[0].TimeoutSeconds != 30 {
		t.Error("it was put back at once")
	}
	*v.Webhooks[0].TimeoutSeconds = 30
	must[any](t)(api.ValidatingWebhookConfigurations().Update(t.Context(), v, options))
	eventually(t, "the validating one is named, too", func() bool {
		return strings.Contains(r.State().Message, "intruder edits the ValidatingWebhookConfiguration")
	})
}

func TestAConfigurationThatIsRefusedReplacesNothing(t *testing.T) {
	admin := client(t, apiserver.Config(t, "admin"))
	r, index, namespace := corrected(t, admin)
	wantV, wantM := both(t, admin)
	replace(t, index, ownership.Sync{Name: "broken", Mode: v1alpha1.ModeEnforce}, entry("", "ConfigMap", "configmaps", "No Namespace", "x"))
	eventually(t, "the state says so", func() bool {
		return strings.Contains(r.State().Message, "the API server takes no new webhook configuration, and the last one stays")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := r.Ensure(ctx); err == nil {
		t.Error("a configuration that is refused counts as registered")
	}
	if v, m := both(t, admin); v.ResourceVersion != wantV.ResourceVersion || m.ResourceVersion != wantM.ResourceVersion {
		t.Error("something was written")
	}
	replace(t, index, ownership.Sync{Name: "broken", Mode: v1alpha1.ModeEnforce, Generation: 2}, entry("", "ConfigMap", "configmaps", namespace, "x"))
	if err := r.Ensure(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the state is right again", func() bool { return strings.HasPrefix(r.State().Message, "the API server reaches the webhook") })
}

// TestAKindIsCoveredBeforeItsFirstObject: a commit brings a definition and an
// object of it.
func TestAKindIsCoveredBeforeItsFirstObject(t *testing.T) {
	admin := client(t, apiserver.Config(t, "admin"))
	r, index, namespace := corrected(t, admin)
	kubectl(t, "create", "-f", "testdata/crontabs.crd")
	defer kubectl(t, "delete", "crd", "crontabs.surface.example.com")
	id := ownership.ID{Group: "surface.example.com", Kind: "CronTab", Namespace: namespace, Name: "one"}
	label := ownership.LabelValue((&ownership.Sync{Namespace: "mainstay-system", Name: "cron"}).Key(), id)
	object := fmt.Sprintf(`{"apiVersion":"surface.example.com/v1","kind":"CronTab","metadata":{"name":"one","namespace":%q,"labels":{%q:%q}},"spec":{"cron":"* * * * *"}}`, namespace, v1alpha1.SyncLabel, label)
	fields := fmt.Sprintf(`{"f:metadata":{"f:labels":{"f:%s":{}}},"f:spec":{"f:cron":{}}}`, v1alpha1.SyncLabel)
	one := &ownership.Entry{ID: id, Version: "v1", Resource: "crontabs", Applied: &ownership.Content{
		File: "one.yaml", Line: 1, Desired: []byte(object), Baseline: []byte(object), Fields: []byte(fields),
	}}
	replace(t, index, ownership.Sync{Name: "cron", Mode: v1alpha1.ModeEnforce, Controllers: v1alpha1.ControllersCorrect}, one)
	if err := r.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, m := both(t, admin)
	if got := m.Webhooks[0].Rules; len(got) != 2 || got[1].APIGroups[0] != id.Group {
		t.Errorf("the mutating configuration has the rules %+v", got)
	}
	if v.Annotations["mainstay.dev/mutating-configuration"] != m.Annotations[registration.ConfigurationAnnotation] {
		t.Error("the configurations do not belong together")
	}
	eventually(t, "the definition is served", func() bool {
		return admin.Discovery().RESTClient().Get().AbsPath("/apis/surface.example.com/v1/crontabs").Do(t.Context()).Error() == nil
	})
	path := "/apis/surface.example.com/v1/namespaces/" + namespace + "/crontabs"
	must[[]byte](t)(admin.Discovery().RESTClient().Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body([]byte(object)).Do(t.Context()).Raw())
	// At once, and by an account whose writes nothing else would stop.
	out, err := apiserver.Kubectl(t, "alice", "-n", namespace, "patch", "crontab", "one", "--type=merge", "-p", `{"spec":{"cron":"1 * * * *"}}`)
	if err == nil || !strings.Contains(out, "is held by git") {
		t.Errorf("kubectl said %q", out)
	}
	out, err = apiserver.Kubectl(t, "alice", "delete", "crd", "crontabs.surface.example.com")
	if err == nil || !strings.Contains(out, "1 object of GitSync mainstay-system/cron would go with it") {
		t.Errorf("kubectl said %q", out)
	}
	replace(t, index, ownership.Sync{Name: "cron", Mode: v1alpha1.ModeEnforce, Generation: 2})
	if err := r.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
}
