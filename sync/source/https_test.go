// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

// clientCertificate makes one that signs itself.
func clientCertificate(t *testing.T) (certificate, private []byte, parsed *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mainstay"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), parsed
}

// withClients has a server ask for client certificates.
func withClients(t *testing.T, s *server, authority *x509.Certificate) *httptest.Server {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	strict := httptest.NewUnstartedServer(s.Config.Handler)
	strict.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	strict.StartTLS()
	t.Cleanup(strict.Close)
	return strict
}

func certificateOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	r.push("First")
	certificate, private, parsed := clientCertificate(t)
	otherCertificate, otherPrivate, _ := clientCertificate(t)
	strict := withClients(t, serve(t, r, nil), parsed)
	ca := certificateOf(strict)
	fetch := func(auth source.Auth) (source.Snapshot, error) {
		auth.CA = ca
		return newStore(t, t.TempDir()).Fetch(t.Context(), source.Request{URL: strict.URL + "/shop.git", Branch: "main", Auth: auth})
	}
	got, err := fetch(source.Auth{Certificate: certificate, Key: private})
	if err != nil || read(t, got.FS, "a.yaml") != "one" {
		t.Errorf("with the certificate: %v", err)
	}
	_, err = fetch(source.Auth{})
	refused(t, err, source.ReasonTLSFailed, "wants one: put it into the keys tls.crt and tls.key")
	_, err = fetch(source.Auth{Certificate: otherCertificate, Key: otherPrivate})
	refused(t, err, source.ReasonTLSFailed, "refuses the client certificate")
	_, err = fetch(source.Auth{Certificate: certificate})
	refused(t, err, source.ReasonTLSFailed, "needs both tls.crt and tls.key")
	_, err = fetch(source.Auth{Certificate: certificate, Key: otherPrivate})
	refused(t, err, source.ReasonTLSFailed, "no pair")
}

// proxy passes connections on, for those who know the password.
func proxy(t *testing.T, through *atomic.Int64) *httptest.Server {
	t.Helper()
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user := &http.Request{Header: http.Header{"Authorization": req.Header["Proxy-Authorization"]}}
		if name, word, _ := user.BasicAuth(); name != "mainstay" || word != password {
			w.Header().Set("Proxy-Authenticate", "Basic")
			http.Error(w, "no", http.StatusProxyAuthRequired)
			return
		}
		target, err := net.Dial("tcp", req.Host)
		if err != nil {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		defer func() { _ = target.Close() }()
		through.Add(1)
		w.WriteHeader(http.StatusOK)
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = client.Close() }()
		go func() { _, _ = io.Copy(target, client) }()
		_, _ = io.Copy(client, target)
	}))
	t.Cleanup(p.Close)
	return p
}

func TestProxy(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	r.push("First")
	web := serve(t, r, nil)
	var through atomic.Int64
	p := proxy(t, &through)
	fetch := func(proxy string) (source.Snapshot, error) {
		return newStore(t, t.TempDir()).Fetch(t.Context(), source.Request{URL: web.url(), Branch: "main", Auth: source.Auth{CA: web.ca, Proxy: proxy}})
	}
	got, err := fetch(strings.Replace(p.URL, "http://", "http://mainstay:"+password+"@", 1))
	if err != nil || read(t, got.FS, "a.yaml") != "one" || through.Load() == 0 {
		t.Errorf("through the proxy: %d connections, %v", through.Load(), err)
	}
	_, err = fetch(strings.Replace(p.URL, "http://", "http://mainstay:"+password+"x@", 1))
	refused(t, err, source.ReasonUnreachable, "Proxy Authentication Required")
	_, err = fetch("proxy.example.org")
	refused(t, err, source.ReasonUnreachable, "proxy is no URL")
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	r.push("First")
	target := serve(t, r, nil)
	var seen atomic.Value
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		seen.Store(req.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	var to atomic.Value
	to.Store("")
	moved := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if suffix, ok := strings.CutPrefix(req.URL.Path, "/old.git"); ok {
			http.Redirect(w, req, to.Load().(string)+suffix+"?"+req.URL.RawQuery, http.StatusMovedPermanently)
			return
		}
		target.Config.Handler.ServeHTTP(w, req)
	}))
	moved.StartTLS()
	t.Cleanup(moved.Close)
	fetch := func() (source.Snapshot, error) {
		return newStore(t, t.TempDir()).Fetch(t.Context(), source.Request{
			URL: moved.URL + "/old.git", Branch: "main", Auth: source.Auth{CA: certificateOf(moved), Username: "shop", Password: password},
		})
	}
	to.Store("/shop.git")
	if got, err := fetch(); err != nil || read(t, got.FS, "a.yaml") != "one" {
		t.Errorf("on the same host: %v", err)
	}
	to.Store(elsewhere.URL + "/shop.git")
	_, err := fetch()
	refused(t, err, source.ReasonFetchFailed, "redirects to "+elsewhere.URL+"/shop.git, which is not followed")
	if seen.Load() != nil {
		t.Errorf("the other host was asked, with %q", seen.Load())
	}
	to.Store(strings.Replace(moved.URL, "https://", "http://", 1) + "/shop.git")
	_, err = fetch()
	refused(t, err, source.ReasonFetchFailed, "redirects to http://")
}

func TestServersThatAreNone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer http.HandlerFunc
		reason string
		says   string
	}{
		"a page for people": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>"+password) }, source.ReasonRepositoryNotFound, "no git server"},
		"nonsense": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, "zzzz"+password)
		}, source.ReasonFetchFailed, "not git's protocol"},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, "001e# service=git-upload-pack\n0000000eversion 2\n")
		}, source.ReasonFetchFailed, "unexpected EOF"},
		"the other hash": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, "001e# service=git-upload-pack\n0000000eversion 2\n0019object-format=sha256\n0000")
		}, source.ReasonFetchFailed, "SHA-256"},
		"an error of git": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, "001e# service=git-upload-pack\n0000001aERR maintenance, sorry")
		}, source.ReasonFetchFailed, "maintenance"},
		"too many requests": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			http.Error(w, "slow down", http.StatusTooManyRequests)
		}, source.ReasonRateLimited, "left alone for 2m0s"},
		"a limit that is a 403": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Ratelimit-Remaining", "0")
			http.Error(w, "slow down", http.StatusForbidden)
		}, source.ReasonRateLimited, "push webhook"},
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, password, http.StatusForbidden) }, source.ReasonAuthFailed, "spec.source.secretRef"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := httptest.NewTLSServer(test.answer)
			t.Cleanup(web.Close)
			_, err := newStore(t, t.TempDir()).Fetch(t.Context(), source.Request{
				URL: web.URL + "/shop.git", Branch: "main", Auth: source.Auth{CA: certificateOf(web), Username: "shop", Password: password},
			})
			refused(t, err, test.reason, test.says)
			if test.reason == source.ReasonRateLimited && strings.Contains(test.says, "2m0s") && source.RetryAfter(err) < 119*time.Second {
				t.Errorf("it is asked again after %s", source.RetryAfter(err))
			}
		})
	}
}

func TestLinkLocalAddressesAreNotAsked(t *testing.T) {
	t.Parallel()
	_, err := newStore(t, t.TempDir()).Fetch(t.Context(), source.Request{URL: "https://169.254.169.254/shop.git", Branch: "main"})
	refused(t, err, source.ReasonUnreachable, "link-local")
}

func TestPackThatIsTooLarge(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", strings.Repeat("0123456789abcdef", 64))
	r.push("First")
	web := serve(t, r, nil)
	s, err := source.New(source.Options{Dir: t.TempDir(), MaxPack: 100})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Fetch(t.Context(), source.Request{URL: web.url(), Branch: "main", Auth: source.Auth{CA: web.ca}})
	refused(t, err, source.ReasonFetchFailed, "sync.maxFetchBytes")
}

// old lets a server answer in version 0.
func old(t *testing.T, s *server) *httptest.Server {
	t.Helper()
	o := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Header.Del("Git-Protocol")
		s.Config.Handler.ServeHTTP(w, req)
	}))
	t.Cleanup(o.Close)
	return o
}

func TestVersion0(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	first := r.push("First")
	r.git("tag", "-a", "-m", "Release", "v1")
	r.write("a.yaml", "two")
	second := r.push("Second")
	o := old(t, serve(t, r, nil))
	s := newStore(t, t.TempDir())
	req := source.Request{URL: o.URL + "/shop.git", Branch: "main", Auth: source.Auth{CA: certificateOf(o)}}
	if got := mustFetch(t, s, req); got.Revision.Commit != second || read(t, got.FS, "a.yaml") != "two" {
		t.Errorf("branch: %+v", got.Revision)
	}
	r.write("a.yaml", "three")
	third := r.push("Third")
	req.Base = second
	if got := mustFetch(t, s, req); got.Revision.Commit != third || read(t, got.FS, "a.yaml") != "three" {
		t.Errorf("next: %+v", got.Revision)
	}
	if h, err := s.Since(t.Context(), req, third, true); err != nil || !h.Descends || len(h.Commits) != 1 {
		t.Errorf("history: %+v, %v", h, err)
	}
	tagged := source.Request{URL: req.URL, Tag: "v1", Auth: req.Auth}
	if got := mustFetch(t, s, tagged); got.Revision.Commit != first || len(got.Tag) == 0 {
		t.Errorf("tag: %+v", got.Revision)
	}
	// Such a server gives out by name only: all of it is fetched.
	commit := source.Request{URL: req.URL, Commit: first, Auth: req.Auth}
	if got := mustFetch(t, newStore(t, t.TempDir()), commit); read(t, got.FS, "a.yaml") != "one" {
		t.Errorf("commit: %+v", got.Revision)
	}
}

// hostOf is what a URL names.
func hostOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// revive serves again at the address of a server that was closed.
func revive(t *testing.T, s *server, address string) *httptest.Server {
	t.Helper()
	listener, err := net.Listen("tcp", hostOf(t, address))
	if err != nil {
		t.Fatal(err)
	}
	again := httptest.NewUnstartedServer(s.Config.Handler)
	again.Listener.Close()
	again.Listener = listener
	again.TLS = &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}
	again.StartTLS()
	return again
}
