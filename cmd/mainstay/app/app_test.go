// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/webhook/registration"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// door is a running server and a client that trusts it.
type door struct {
	t      *testing.T
	server *server
	url    string
	client *http.Client
	// sessions that its clients may resume; nil for none.
	sessions tls.ClientSessionCache
	// stop drains the server and returns what Start did.
	stop func() error
}

func openDoor(t *testing.T, handler http.Handler, edits ...func(*tls.Config) *tls.Config) *door {
	t.Helper()
	identity := httptest.NewTLSServer(http.NotFoundHandler())
	identity.Close()
	roots := x509.NewCertPool()
	roots.AddCert(identity.Certificate())
	address := freeAddress(t)
	tlsConfig := &tls.Config{Certificates: identity.TLS.Certificates, MinVersion: tls.VersionTLS12}
	for _, edit := range edits {
		tlsConfig = edit(tlsConfig)
	}
	d := &door{
		t: t, url: "https://" + address,
		server: newServer(address, handler, tlsConfig, logr.Discard()),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}},
	}
	if err := d.server.ready(nil); err == nil {
		t.Error("it is ready before it was started")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.server.Start(ctx) }()
	d.stop = func() error {
		err := d.server.drain(ctx, 0)
		cancel()
		return errors.Join(err, <-done)
	}
	t.Cleanup(cancel)
	for deadline := time.Now().Add(10 * time.Second); d.server.ready(nil) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never became ready")
		}
	}
	return d
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func (d *door) get(path string) (int, string) {
	d.t.Helper()
	response, err := d.client.Get(d.url + path)
	must(d.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(d.t, err)
	return response.StatusCode, string(body)
}

func TestTheServerServesAdmissionAlone(t *testing.T) {
	d := openDoor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "judged "+r.URL.Path) }))
	if status, body := d.get("/admit/held"); status != http.StatusOK || body != "judged /admit/held" {
		t.Errorf("/admit/held: %d %q", status, body)
	}
	for _, path := range []string{"/", "/metrics", "/debug/pprof/", "/admit/../x"} {
		if status, body := d.get(path); status != http.StatusNotFound {
			t.Errorf("%s: %d %q, want not found", path, status, body)
		}
	}
	t.Run("over TLS", func(t *testing.T) {
		response, err := http.Get(strings.Replace(d.url, "https", "http", 1) + "/admit/held")
		if err == nil {
			defer response.Body.Close()
			if response.StatusCode != http.StatusBadRequest {
				t.Errorf("without: status %d, want a bad request", response.StatusCode)
			}
		}
	})
	d.client.CloseIdleConnections()
	if err := d.stop(); err != nil {
		t.Errorf("%v, want nil after an end that was asked for", err)
	}
	if err := d.server.ready(nil); err == nil {
		t.Error("it is ready after its end")
	}
}

func TestARequestUnderWayIsAnsweredBeforeTheEnd(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	d := openDoor(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		fmt.Fprint(w, "judged")
	}))
	type answer struct {
		body string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		response, err := d.client.Get(d.url + "/admit/held")
		if err != nil {
			answers <- answer{err: err}
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answers <- answer{string(body), err}
	}()
	<-begun
	ended := make(chan error, 1)
	go func() { ended <- d.stop() }()
	for deadline := time.Now().Add(10 * time.Second); d.server.ready(nil) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it stayed ready: the Service would send more requests")
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended (%v) with a request under way", err)
	default:
	}
	close(finish)
	if a := <-answers; a.err != nil || a.body != "judged" {
		t.Errorf("the answer is %q, %v", a.body, a.err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatIsTakenEndsTheServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	s := newServer(listener.Addr().String(), http.NotFoundHandler(), &tls.Config{MinVersion: tls.VersionTLS12}, logr.Discard())
	if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "listen for admission requests") {
		t.Errorf("got %v", err)
	}
	if s.ready(nil) == nil {
		t.Error("it says that it is ready")
	}
}

func TestEveryReplicaServes(t *testing.T) {
	if newServer("", http.NotFoundHandler(), nil, logr.Discard()).NeedLeaderElection() {
		t.Error("the server waits for leadership")
	}
}

func TestReplicasShareOneSealingKey(t *testing.T) {
	kube := fake.NewClientset()
	first, err := sealingKey(t.Context(), kube, "mainstay-system")
	must(t, err)
	second, err := sealingKey(t.Context(), kube, "mainstay-system")
	must(t, err)
	if err := second.Verify("x", []byte("data"), first.Seal("x", []byte("data"))); err != nil {
		t.Errorf("what one replica seals is refused by the other: %v", err)
	}
	secret, err := kube.CoreV1().Secrets("mainstay-system").Get(t.Context(), "mainstay-key", metav1.GetOptions{})
	must(t, err)
	if secret.Type != "mainstay.dev/key" || secret.Immutable == nil || !*secret.Immutable {
		t.Errorf("the Secret has type %q and may be changed: %v", secret.Type, secret.Immutable)
	}
}

func TestOfTwoReplicasThatMakeAKeyTheFirstWins(t *testing.T) {
	kube := fake.NewClientset()
	winner := []byte(strings.Repeat("w", 32))
	kube.PrependReactor("create", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		// The other replica is faster by a moment.
		must(t, kube.Tracker().Add(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "mainstay-system", Name: "mainstay-key"}, Data: map[string][]byte{"key": winner},
		}))
		return true, nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "secrets"}, "mainstay-key")
	})
	first, err := sealingKey(t.Context(), kube, "mainstay-system")
	must(t, err)
	second, err := sealingKey(t.Context(), kube, "mainstay-system")
	must(t, err)
	if first.Seal("x", nil) != second.Seal("x", nil) {
		t.Error("the loser uses a key of its own")
	}
}

func TestASealingKeyThatCannotBeReadIsAnError(t *testing.T) {
	short := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mainstay-system", Name: "mainstay-key"}, Data: map[string][]byte{"key": []byte("short")},
	}
	if _, err := sealingKey(t.Context(), fake.NewClientset(short), "mainstay-system"); err == nil ||
		!strings.Contains(err.Error(), "mainstay-system/mainstay-key") || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("a short key: %v, want an error that names the Secret", err)
	}
	kube := fake.NewClientset()
	kube.PrependReactor("get", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no answer")
	})
	if _, err := sealingKey(t.Context(), kube, "mainstay-system"); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("no answer: %v, want an error: a new key would make all that is sealed void", err)
	}
	for _, a := range kube.Actions() {
		if a.GetVerb() == "create" {
			t.Error("a key was made although one may be there")
		}
	}
}

func TestHowTheAPIServerReachesTheWebhook(t *testing.T) {
	for name, tt := range map[string]struct {
		change   func(c *config.Config)
		endpoint registration.Endpoint
		dns      []string
		ips      []net.IP
	}{
		"by its own Service, by default": {
			func(*config.Config) {},
			registration.Endpoint{Service: &registration.ServicePort{Namespace: "mainstay-system", Name: "mainstay", Port: 443}},
			[]string{"mainstay.mainstay-system.svc", "mainstay.mainstay-system.svc.cluster.local"},
			nil,
		},
		"by another Service": {
			func(c *config.Config) {
				c.Webhook.Service = &config.Service{Name: "hook", Namespace: "edge", Port: 8443}
			},
			registration.Endpoint{Service: &registration.ServicePort{Namespace: "edge", Name: "hook", Port: 8443}},
			[]string{"hook.edge.svc", "hook.edge.svc.cluster.local"},
			nil,
		},
		"by a URL with a name": {
			func(c *config.Config) { c.Webhook.URL = "https://hook.example.org:9443" },
			registration.Endpoint{URL: "https://hook.example.org:9443"},
			[]string{"hook.example.org"},
			nil,
		},
		"by a URL with an address": {
			func(c *config.Config) { c.Webhook.URL = "https://127.0.0.1:9443" },
			registration.Endpoint{URL: "https://127.0.0.1:9443"},
			nil,
			[]net.IP{net.ParseIP("127.0.0.1")},
		},
		"by a URL with an IPv6 address": {
			func(c *config.Config) { c.Webhook.URL = "https://[::1]:9443" },
			registration.Endpoint{URL: "https://[::1]:9443"},
			nil,
			[]net.IP{net.ParseIP("::1")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			tt.change(cfg)
			if diff := cmp.Diff(tt.endpoint, endpoint(cfg)); diff != "" {
				t.Errorf("endpoint (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.dns, dnsNames(cfg)); diff != "" {
				t.Errorf("names in the certificate (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.ips, ips(cfg)); diff != "" {
				t.Errorf("addresses in the certificate (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMayGetAsksForTheUserAndAnErrorMeansNo(t *testing.T) {
	alice := &policy.User{Username: "alice", UID: "1", Groups: []string{"developers"}, Extra: map[string][]string{"scope": {"a"}}}
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	for name, tt := range map[string]struct {
		allowed bool
		err     error
		want    bool
	}{
		"allowed":   {true, nil, true},
		"denied":    {false, nil, false},
		"no answer": {true, errors.New("no answer"), false},
	} {
		t.Run(name, func(t *testing.T) {
			kube := fake.NewClientset()
			var asked authorizationv1.SubjectAccessReviewSpec
			kube.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
				review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
				asked = review.Spec
				review.Status.Allowed = tt.allowed
				return true, review, tt.err
			})
			if got := mayGet(kube)(t.Context(), alice, deployments, "shop", "web"); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
			want := authorizationv1.SubjectAccessReviewSpec{
				User: "alice", UID: "1", Groups: []string{"developers"}, Extra: map[string]authorizationv1.ExtraValue{"scope": {"a"}},
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: "get", Group: "apps", Version: "v1", Resource: "deployments", Namespace: "shop", Name: "web",
				},
			}
			if diff := cmp.Diff(want, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnAnswerAboutOneUserIsNotGivenToAnother(t *testing.T) {
	kube := fake.NewClientset()
	kube.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		review.Status.Allowed = review.Spec.User == "alice" && len(review.Spec.Groups) == 1 && review.Spec.ResourceAttributes.Name == "web"
		return true, review, nil
	})
	ask := mayGet(kube)
	deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	alice := &policy.User{Username: "alice", Groups: []string{"developers"}}
	if !ask(t.Context(), alice, deployments, "shop", "web") {
		t.Error("alice may not")
	}
	if ask(t.Context(), &policy.User{Username: "bob", Groups: []string{"developers"}}, deployments, "shop", "web") {
		t.Error("bob may")
	}
	if ask(t.Context(), &policy.User{Username: "alice"}, deployments, "shop", "web") {
		t.Error("alice may without her group")
	}
	if ask(t.Context(), alice, deployments, "shop", "api") {
		t.Error("alice may read another object")
	}
}

func TestAwaitWaitsForEveryCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second atomic.Bool
		done := make(chan error, 1)
		go func() { done <- await(t.Context(), first.Load, second.Load) }()
		second.Store(true)
		time.Sleep(time.Second)
		select {
		case err := <-done:
			t.Fatalf("it returned (%v) before the first condition held", err)
		default:
		}
		first.Store(true)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := await(ctx, func() bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("when its context ends: %v", err)
	}
}

func TestRunNamesTheOptionThatIsMissing(t *testing.T) {
	full := Options{Config: config.Default(), REST: &rest.Config{}, Ledger: io.Discard, Log: io.Discard}
	for option, without := range map[string]func(o *Options){
		"Config": func(o *Options) { o.Config = nil },
		"REST":   func(o *Options) { o.REST = nil },
		"Ledger": func(o *Options) { o.Ledger = nil },
		"Log":    func(o *Options) { o.Log = nil },
	} {
		o := full
		without(&o)
		if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "Options."+option+" is required") {
			t.Errorf("without %s: %v", option, err)
		}
	}
}
