// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/seal"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
	"github.com/mainstay-gitops/mainstay/webhook"
	"github.com/mainstay-gitops/mainstay/webhook/cert"
	"github.com/mainstay-gitops/mainstay/webhook/registration"
)

func TestMain(m *testing.M) {
	os.Exit(apiserver.Main(m, apiserver.Options{WithoutControllerManager: true}))
}

// refuseAll is a judge without policies.
type refuseAll struct{}

func (refuseAll) Prompt(*policy.Change) bool { return true }

func (refuseAll) Decide(context.Context, *policy.Change) policy.Decision {
	return policy.Decision{ID: "7f3k2", Verdict: policy.Refuse, Class: policy.RuleDefault}
}

type ignoreAll struct{}

func (ignoreAll) Record(*policy.Change, policy.Decision) {}

func client(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func deployment(name string, labels string) string {
	return fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q,"labels":{%s}},"spec":{"replicas":2,"selector":{"matchLabels":{"app":%q}},
"template":{"metadata":{"labels":{"app":%q}},"spec":{"containers":[{"name":"web","image":"nginx:1.27","resources":{"limits":{"cpu":"1000m"}}}]}}}}`, name, labels, name, name)
}

// declare applies a Deployment as Mainstay and enters it in the index as the
// API server made it.
func declare(t *testing.T, admin kubernetes.Interface, index *ownership.Index, namespace string) {
	t.Helper()
	sync := &ownership.Sync{
		Namespace: "mainstay-system", Name: "shop", Mode: v1alpha1.ModeEnforce, Undeclared: v1alpha1.UndeclaredRejectPeople,
		URL: "https://git.example.org/shop.git", Generation: 1, Applied: ownership.Revision{Name: "main@sha1:a1b2c3d4", Commit: "a1b2c3d4"},
	}
	id := ownership.ID{Group: "apps", Kind: "Deployment", Namespace: namespace, Name: "web"}
	body := deployment("web", fmt.Sprintf("%q:%q", v1alpha1.SyncLabel, ownership.LabelValue(sync.Key(), id)))
	force := true
	live := must[*appsv1.Deployment](t)(admin.AppsV1().Deployments(namespace).Patch(t.Context(), "web", types.ApplyPatchType, []byte(body),
		metav1.PatchOptions{FieldManager: v1alpha1.FieldManager, Force: &force}))
	fields := live.ManagedFields[0].FieldsV1.GetRawBytes()
	live.ManagedFields, live.Status = nil, appsv1.DeploymentStatus{}
	live.APIVersion, live.Kind = "apps/v1", "Deployment"
	raw := must[[]byte](t)(json.Marshal(live))
	if err := index.Replace(sync, []*ownership.Entry{{
		ID: id, Version: "v1", Resource: "deployments",
		Applied: &ownership.Content{File: "apps/web.yaml", Line: 1, Revision: sync.Applied, Desired: []byte(body), Baseline: raw, Fields: fields},
	}}); err != nil {
		t.Fatal(err)
	}
}

// token is that of the paths.
const token = "0123456789abcdef0123456789abcdef"

// serve runs the webhook and its registration until the test ends.
func serve(t *testing.T, admin kubernetes.Interface, index *ownership.Index, edits ...func(*registration.Options, *http.Server)) *registration.Registration {
	t.Helper()
	secret := must[[]byte](t)(seal.Generate())
	permits := must[*permit.Store](t)(permit.New(permit.Options{Client: admin, Namespace: "mainstay-system", Key: must[*seal.Key](t)(seal.NewKey(secret))}))
	handler := must[*webhook.Handler](t)(webhook.New(webhook.Options{
		Index: index, Judge: refuseAll{}, Recorder: ignoreAll{}, Permits: permits, Namespace: "mainstay-system", SyncAccount: "admin", Token: token,
		CanGet: func(context.Context, *policy.User, schema.GroupVersionResource, string, string) bool { return true },
	}))
	certificate := must[*cert.Certificate](t)(cert.New(cert.Options{Client: admin, Namespace: "mainstay-system", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}))
	if err := certificate.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	server := &http.Server{Handler: handler, TLSConfig: certificate.TLSConfig(), ReadHeaderTimeout: time.Second}
	options := registration.Options{
		Client: admin, Index: index, Bundle: certificate.Bundle, BundleChanged: certificate.Changed,
		Endpoint:  registration.Endpoint{URL: "https://" + listener.Addr().String()},
		Namespace: "mainstay-system", SyncAccount: "admin", Token: token, Error: func(err error) { t.Log(err) },
	}
	for _, edit := range edits {
		edit(&options, server)
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	r := must[*registration.Registration](t)(registration.New(options))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = r.Start(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		clean := context.WithoutCancel(t.Context())
		if err := admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(clean, registration.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := admin.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(clean, registration.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestAPIServerAsksAndHeeds(t *testing.T) {
	admin := client(t, apiserver.Config(t, "admin"))
	alice := client(t, apiserver.Config(t, "alice"))
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "mainstay-system"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	namespace := apiserver.Namespace(t)
	index := ownership.NewIndex()
	declare(t, admin, index, namespace)
	must[*appsv1.Deployment](t)(admin.AppsV1().Deployments(namespace).Patch(t.Context(), "other", types.ApplyPatchType, []byte(deployment("other", "")),
		metav1.PatchOptions{FieldManager: "someone"}))
	r := serve(t, admin, index)
	if err := r.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}

	deployments := alice.AppsV1().Deployments(namespace)
	image := []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}}}`)
	patch := func(name string, kind types.PatchType, body []byte, subresources ...string) error {
		_, err := deployments.Patch(t.Context(), name, kind, body, metav1.PatchOptions{}, subresources...)
		return err
	}
	held := fmt.Sprintf(`admission webhook "held.mainstay.dev" denied the request: deployments.apps "web" (namespace %s) is held by git`, namespace)
	tests := map[string]struct {
		do   func() error
		want string // empty: it passes
	}{
		"an image is changed":      {func() error { return patch("web", types.StrategicMergePatchType, image) }, held + "\n  spec.template.spec.containers[name=web].image   git: nginx:1.27   asked: nginx:1.28\n"},
		"a quantity as git has it": {func() error { return patch("web", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`)) }, ""},
		"managedFields are wiped": {func() error {
			return patch("web", types.JSONPatchType, []byte(`[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`))
		}, "managedFields may not be wiped"},
		"a scale": {func() error {
			return patch("web", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), "scale")
		}, `admission webhook "scale.mainstay.dev" denied the request: deployments.apps "web"`},
		"a delete": {func() error { return deployments.Delete(t.Context(), "web", metav1.DeleteOptions{}) }, held + ": to delete it"},
		"a deletecollection": {func() error {
			return deployments.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name=web"})
		}, held},
		"the namespace is deleted": {
			func() error {
				return alice.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{})
			},
			"1 object of GitSync mainstay-system/shop would go with it",
		},
		"an undeclared object": {func() error { return patch("other", types.StrategicMergePatchType, image) }, ""},
		"a forged permit": {func() error {
			_, err := alice.CoreV1().Secrets("mainstay-system").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "forged"}, Type: v1alpha1.SecretTypePermit}, metav1.CreateOptions{})
			return err
		}, "only Mainstay itself writes it"},
		"another Secret": {func() error {
			_, err := alice.CoreV1().Secrets("mainstay-system").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "plain-"}}, metav1.CreateOptions{})
			return err
		}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.do()
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if err != nil && !apierrors.IsForbidden(err) {
				t.Errorf("reason %s", apierrors.ReasonForError(err))
			}
		})
	}

	t.Run("a deleted configuration comes back within a second", func(t *testing.T) {
		if err := admin.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(t.Context(), registration.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		deleted := time.Now()
		for {
			if _, err := deployments.Patch(t.Context(), "web", types.StrategicMergePatchType, image, metav1.PatchOptions{DryRun: []string{"All"}}); err != nil {
				break
			}
			if time.Since(deleted) > time.Second {
				t.Fatal("not back")
			}
		}
		t.Logf("refused again after %s", time.Since(deleted))
	})
	if err := index.Replace(&ownership.Sync{Namespace: "mainstay-system", Name: "shop", Generation: 2, Mode: v1alpha1.ModeEnforce}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
}
