// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package cert

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
)

const day = 24 * time.Hour

type fakeClock struct{ now time.Time }

func (c *fakeClock) Now() time.Time { return c.now }

func newCertificate(t *testing.T, client kubernetes.Interface, clock *fakeClock) *Certificate {
	t.Helper()
	c, err := New(Options{
		Client: client, Namespace: "mainstay-system", DNSNames: []string{"mainstay.mainstay-system.svc"},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Clock: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ensure(t *testing.T, c *Certificate) {
	t.Helper()
	if err := c.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// trusts tells whether who knows a bundle trusts what a replica serves.
func trusts(t *testing.T, bundle []byte, c *Certificate) error {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		t.Fatal("bundle has no certificate")
	}
	_, err := c.serving.Leaf.Verify(x509.VerifyOptions{
		Roots: pool, DNSName: "mainstay.mainstay-system.svc", CurrentTime: c.options.Clock(),
	})
	return err
}

func TestReplicasShareOneAuthority(t *testing.T) {
	client, clock := fake.NewClientset(), &fakeClock{time.Now()}
	one, two := newCertificate(t, client, clock), newCertificate(t, client, clock)
	ensure(t, one)
	ensure(t, two)
	if !bytes.Equal(one.Bundle(), two.Bundle()) {
		t.Fatal("the replicas have different bundles")
	}
	if err := trusts(t, one.Bundle(), two); err != nil {
		t.Errorf("one replica's bundle does not fit the other: %v", err)
	}
	if one.serving.Leaf.Equal(two.serving.Leaf) {
		t.Error("the replicas share a serving certificate")
	}
}

func TestRenewalInterruptsNobody(t *testing.T) {
	client, clock := fake.NewClientset(), &fakeClock{time.Now()}
	c := newCertificate(t, client, clock)
	ensure(t, c)
	oldBundle, oldLeaf := c.Bundle(), c.serving.Leaf

	clock.now = clock.now.Add(4 * day)
	ensure(t, c)
	if !c.serving.Leaf.Equal(oldLeaf) {
		t.Error("the serving certificate was renewed too early")
	}
	clock.now = clock.now.Add(day)
	ensure(t, c)
	if c.serving.Leaf.Equal(oldLeaf) {
		t.Error("the serving certificate was not renewed after two thirds of its life")
	}
	if !bytes.Equal(oldBundle, c.Bundle()) {
		t.Error("renewing the serving certificate changed the bundle")
	}

	changed := c.Changed()
	clock.now = clock.now.Add(245 * day)
	ensure(t, c) // the authority and the serving certificate are both due
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the new bundle")
	}
	if got := len(parseBundle(c.Bundle())); got != 2 {
		t.Fatalf("the bundle has %d authorities, want the new and the old one", got)
	}
	if err := trusts(t, c.Bundle(), c); err != nil {
		t.Error(err)
	}

	clock.now = clock.now.Add(250 * day)
	ensure(t, c)
	for _, a := range parseBundle(c.Bundle()) {
		if !clock.now.Before(a.NotAfter) {
			t.Errorf("an authority that ended %s is still trusted", a.NotAfter)
		}
	}
}

func TestRunningReplicaWaitsForTheBundleToSettle(t *testing.T) {
	client, clock := fake.NewClientset(), &fakeClock{time.Now()}
	leader, follower := newCertificate(t, client, clock), newCertificate(t, client, clock)
	ensure(t, leader)
	clock.now = clock.now.Add(243 * day)
	ensure(t, follower)
	before := follower.Bundle()
	clock.now = clock.now.Add(day)
	ensure(t, leader) // renews the authority
	ensure(t, follower)
	if err := trusts(t, before, follower); err != nil {
		t.Errorf("the API server, which still has the old bundle, does not trust the replica: %v", err)
	}
	clock.now = clock.now.Add(2 * settle)
	ensure(t, follower)
	if !follower.signed() {
		t.Error("the replica never serves under the new authority")
	}
}

func TestBrokenSecretIsReplaced(t *testing.T) {
	clock := &fakeClock{time.Now()}
	client := fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: SecretName, Namespace: "mainstay-system"},
		Data:       map[string][]byte{corev1.TLSCertKey: []byte("x"), bundleKey: []byte("y")},
	})
	c := newCertificate(t, client, clock)
	ensure(t, c)
	if err := trusts(t, c.Bundle(), c); err != nil {
		t.Error(err)
	}
}

func TestTLSConfigServes(t *testing.T) {
	clock := &fakeClock{time.Now()}
	c := newCertificate(t, fake.NewClientset(), clock)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", c.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	})}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() { _ = server.Serve(listener) }()
	ensure(t, c)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.Bundle())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	response, err := client.Get("https://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "HTTP/1.1" {
		t.Errorf("got %q, %v", body, err)
	}
}
