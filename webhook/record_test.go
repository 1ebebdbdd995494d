// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

var record = flag.Bool("record", false, "record testdata/reviews anew, by a real API server")

func TestMain(m *testing.M) { os.Exit(apiserver.Main(m)) }

// reviewsDir holds one review in each file, as the API server sent it.
const reviewsDir = "testdata/reviews"

// tape takes down what an API server asks, and permits it.
type tape struct{ reviews chan []byte }

func (p *tape) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case p.reviews <- body:
	default: // nobody waits for it
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// recorder is alice, with a tape running.
type recorder struct {
	*tape
	kube      kubernetes.Interface
	namespace string
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{tape: &tape{reviews: make(chan []byte, 1024)}, namespace: apiserver.Namespace(t)}
	server := httptest.NewTLSServer(r.tape)
	t.Cleanup(server.Close)
	client := func(user string) kubernetes.Interface {
		config := rest.CopyConfig(apiserver.Config(t, user))
		c, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	r.kube = client("alice")
	admin := client("admin")
	ignore, none, scope := admissionregistrationv1.Ignore, admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.AllScopes
	url := server.URL
	configurations := admin.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := configurations.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "tape"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "tape.example.org", AdmissionReviewVersions: []string{"v1"}, FailurePolicy: &ignore, SideEffects: &none,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL:      &url,
				CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{"", "apps", "autoscaling", "batch", "mainstay.dev"}, APIVersions: []string{"v1", "v1alpha1"},
					Resources: []string{"*/*"}, Scope: &scope,
				},
			}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: r.namespace}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(t.Context()), "tape", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	// It is in force once it is asked.
	for deadline := time.Now().Add(10 * time.Second); len(r.reviews) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the tape hears nothing")
		}
		r.request(t, http.MethodPost, "configmaps", `{"metadata":{"generateName":"probe-"}}`, "application/json")
	}
	return r
}

// request sends a body below the namespace, and ignores what becomes of it: it
// is asked about all the same. The path is that of a core resource, or starts
// with /.
func (r *recorder) request(t *testing.T, method, path, body, contentType string) {
	t.Helper()
	base := "/api/v1/namespaces/" + r.namespace + "/"
	if group, rest, ok := strings.Cut(path, ":"); ok {
		base, path = "/apis/"+group+"/namespaces/"+r.namespace+"/", rest
	}
	if strings.HasPrefix(path, "/") {
		base, path = strings.ReplaceAll(path, "NAMESPACE", r.namespace), ""
	}
	path, query, _ := strings.Cut(base+path, "?")
	request := r.kube.Discovery().RESTClient().Verb(method).AbsPath(path).SetHeader("Content-Type", contentType).Body([]byte(body))
	for pair := range strings.SplitSeq(query, "&") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			request = request.Param(key, value)
		}
	}
	if err := request.Do(t.Context()).Error(); err != nil {
		t.Logf("%s %s: %v", method, path, err)
	}
}

// save waits for the review that matches and writes it down.
func (r *recorder) save(t *testing.T, name string, matches func(*admissionv1.AdmissionRequest) bool) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case body := <-r.reviews:
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(body, &review); err != nil {
				t.Fatal(err)
			}
			if !matches(review.Request) {
				continue
			}
			if err := os.WriteFile(filepath.Join(reviewsDir, name+".json"), r.clean(t, body), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		case <-timeout:
			t.Fatalf("%s was not asked about", name)
		}
	}
}

// clean takes out what names a credential, and makes the namespace shop.
func (r *recorder) clean(t *testing.T, body []byte) []byte {
	t.Helper()
	var review map[string]any
	decoder := json.NewDecoder(bytes.NewReader(bytes.ReplaceAll(body, []byte(r.namespace), []byte("shop"))))
	decoder.UseNumber()
	if err := decoder.Decode(&review); err != nil {
		t.Fatal(err)
	}
	user := review["request"].(map[string]any)["userInfo"].(map[string]any)
	delete(user, "uid")
	if extra, ok := user["extra"].(map[string]any); ok {
		for key := range extra {
			extra[key] = []any{"recorded"}
		}
	}
	out, err := json.Marshal(review)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

const (
	recordedDeployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web","mainstay.dev/sync":"LABEL"},"finalizers":["example.org/keep"]},
"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
"spec":{"containers":[{"name":"web","image":"nginx:1.27","env":[{"name":"A","value":"1"}],"ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"1000m"}}}]}}}}`
	applied = "application/apply-patch+yaml"
	merged  = "application/merge-patch+json"
)

// TestRecordReviews records the reviews that the other tests read. It does
// nothing but with -record.
func TestRecordReviews(t *testing.T) {
	if !*record {
		return
	}
	if err := os.RemoveAll(reviewsDir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(reviewsDir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := newRecorder(t)
	declared := strings.ReplaceAll(recordedDeployment, "LABEL", ownership.LabelValue(
		types.NamespacedName{Name: "shop"}, ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}))
	image := strings.ReplaceAll(declared, "nginx:1.27", "nginx:1.28")
	steps := []struct {
		name, method, path, body, contentType string
		resource                              string // with the subresource
	}{
		{"create-apply", "PATCH", "apps/v1:deployments/web?fieldManager=mainstay&force=true", declared, applied, "deployments"},
		{"create-generate-name", "POST", "configmaps", `{"metadata":{"generateName":"settings-"},"data":{"a":"1"}}`, "application/json", "configmaps"},
		{"create-generate-name-beside-name", "POST", "configmaps", `{"metadata":{"name":"settings","generateName":"settings-"},"data":{"a":"1"}}`, "application/json", "configmaps"},
		{"update-put", "PUT", "apps/v1:deployments/web", image, "application/json", "deployments"},
		{"update-json-patch", "PATCH", "apps/v1:deployments/web", `[{"op":"replace","path":"/spec/replicas","value":3}]`, "application/json-patch+json", "deployments"},
		{"update-merge-patch", "PATCH", "apps/v1:deployments/web", `{"spec":{"template":{"metadata":{"annotations":{"a":"b"}}}}}`, merged, "deployments"},
		{"update-strategic-merge-patch", "PATCH", "apps/v1:deployments/web", `{"spec":{"template":{"spec":{"containers":[{"name":"sidecar","image":"proxy:1"}]}}}}`, "application/strategic-merge-patch+json", "deployments"},
		{"update-apply", "PATCH", "apps/v1:deployments/web?fieldManager=alice&force=true", image, applied, "deployments"},
		{"update-dry-run", "PATCH", "apps/v1:deployments/web?dryRun=All", `{"spec":{"replicas":7}}`, merged, "deployments"},
		{"update-managed-fields-wiped", "PATCH", "apps/v1:deployments/web", `[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`, "application/json-patch+json", "deployments"},
		{"update-owner", "PATCH", "apps/v1:deployments/web", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"settings","uid":"5b0c7a3e-0000-0000-0000-000000000000"}]}}`, merged, "deployments"},
		{"update-owner-removed", "PATCH", "apps/v1:deployments/web", `{"metadata":{"ownerReferences":null}}`, merged, "deployments"},
		{"update-label-removed", "PATCH", "apps/v1:deployments/web", `{"metadata":{"labels":{"mainstay.dev/sync":null}}}`, merged, "deployments"},
		{"scale", "PATCH", "apps/v1:deployments/web/scale", `{"spec":{"replicas":5}}`, merged, "deployments/scale"},
		{"scale-to-none", "PATCH", "apps/v1:deployments/web/scale", `{"spec":{"replicas":0}}`, merged, "deployments/scale"},
		{"status", "PATCH", "apps/v1:deployments/web/status", `{"metadata":{"annotations":{"evil":"x"}},"status":{"replicas":9}}`, merged, "deployments/status"},
		{"namespace-status", "PATCH", "/api/v1/namespaces/NAMESPACE/status", `{"metadata":{"labels":{"team":"x"}}}`, merged, "namespaces/status"},
		{"namespace-finalize", "PUT", "/api/v1/namespaces/NAMESPACE/finalize", `{"metadata":{"name":"NAME","annotations":{"a":"b"}},"spec":{"finalizers":["kubernetes"]}}`, "application/json", "namespaces/finalize"},
		{"pod-create", "POST", "pods", `{"metadata":{"name":"lone","labels":{"a":"b"}},"spec":{"containers":[{"name":"a","image":"nginx:1.27","resources":{"requests":{"cpu":"50m"}}}]}}`, "application/json", "pods"},
		{"pod-exec", "POST", "pods/lone/exec?command=sh&stdin=true&container=a", "", "application/json", "pods/exec"},
		{"pod-attach", "POST", "pods/lone/attach?stdout=true&container=a", "", "application/json", "pods/attach"},
		{"pod-portforward", "POST", "pods/lone/portforward?ports=80", "", "application/json", "pods/portforward"},
		{"pod-ephemeralcontainers", "PATCH", "pods/lone/ephemeralcontainers", `{"spec":{"ephemeralContainers":[{"name":"debug","image":"busybox"}]}}`, "application/strategic-merge-patch+json", "pods/ephemeralcontainers"},
		{"pod-resize", "PATCH", "pods/lone/resize", `{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"100m"}}}]}}`, "application/strategic-merge-patch+json", "pods/resize"},
		{"custom-create", "POST", "mainstay.dev/v1alpha1:gitsyncs", `{"apiVersion":"mainstay.dev/v1alpha1","kind":"GitSync","metadata":{"name":"shop"},"spec":{"source":{"url":"https://git.example.org/shop.git","ref":{"branch":"main"}},"serviceAccountName":"shop","enforcement":{"mode":"Enforce"}}}`, "application/json", "gitsyncs"},
		{"custom-apply", "PATCH", "mainstay.dev/v1alpha1:gitsyncs/shop?fieldManager=alice&force=true", `{"apiVersion":"mainstay.dev/v1alpha1","kind":"GitSync","metadata":{"name":"shop"},"spec":{"contact":"#shop"}}`, applied, "gitsyncs"},
		{"custom-status", "PATCH", "mainstay.dev/v1alpha1:gitsyncs/shop/status", `{"metadata":{"labels":{"x":"y"}},"status":{"observedGeneration":1}}`, merged, "gitsyncs/status"},
		{"secret-create", "POST", "secrets", `{"metadata":{"name":"login"},"stringData":{"password":"not-a-secret"}}`, "application/json", "secrets"},
		{"secret-update", "PATCH", "secrets/login", `{"data":{"password":"bm90LWEtc2VjcmV0LWVpdGhlcg=="}}`, merged, "secrets"},
		{"delete", "DELETE", "apps/v1:deployments/web", `{"propagationPolicy":"Background"}`, "application/json", "deployments"},
		{"update-while-deleting", "PATCH", "apps/v1:deployments/web", `{"metadata":{"finalizers":null}}`, merged, "deployments"},
		{"delete-collection", "DELETE", "configmaps", `{}`, "application/json", "configmaps"},
	}
	for _, s := range steps {
		r.request(t, s.method, s.path, strings.ReplaceAll(s.body, "NAME\"", r.namespace+"\""), s.contentType)
		r.save(t, s.name, func(asked *admissionv1.AdmissionRequest) bool {
			resource := asked.Resource.Resource
			if asked.SubResource != "" {
				resource += "/" + asked.SubResource
			}
			return asked.UserInfo.Username == "alice" && resource == s.resource
		})
		if s.name == "create-apply" { // what controllers do then
			r.save(t, "status-by-deployment-controller", func(asked *admissionv1.AdmissionRequest) bool {
				return asked.SubResource == "status" && strings.HasSuffix(asked.UserInfo.Username, ":deployment-controller")
			})
		}
	}
	if err := r.kube.PolicyV1().Evictions(r.namespace).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "lone", Namespace: r.namespace}}); err != nil {
		t.Log(err)
	}
	r.save(t, "pod-eviction", func(asked *admissionv1.AdmissionRequest) bool { return asked.SubResource == "eviction" })
}
