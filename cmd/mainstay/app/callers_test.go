// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// authority signs clients' certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) sign(t *testing.T, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	edit(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// as asks once, on a connection of its own, and returns the answer. The
// certificate is shown whatever authorities the server asks for.
func (d *door) as(certificate *tls.Certificate) (string, error) {
	d.t.Helper()
	transport := d.client.Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if certificate == nil {
			return &tls.Certificate{}, nil
		}
		return certificate, nil
	}
	transport.TLSClientConfig.ClientSessionCache = d.sessions
	response, err := (&http.Client{Transport: transport}).Get(d.url + "/admit/x")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	must(t, os.WriteFile(file, content, 0o600))
}

func TestOnlyCallersWithACertificateAreServed(t *testing.T) {
	trusted, other := newAuthority(t), newAuthority(t)
	plain := func(*x509.Certificate) {}
	tests := map[string]struct {
		names       []string
		certificate func(t *testing.T) tls.Certificate
		served      bool
	}{
		"one of that authority":    {nil, func(t *testing.T) tls.Certificate { return trusted.sign(t, plain) }, true},
		"no certificate":           {nil, nil, false},
		"one of another authority": {nil, func(t *testing.T) tls.Certificate { return other.sign(t, plain) }, false},
		"the authority's name, its own": {nil, func(*testing.T) tls.Certificate {
			return tls.Certificate{Certificate: [][]byte{other.certificate.Raw}, PrivateKey: other.key}
		}, false},
		"one whose key it does not have": {nil, func(t *testing.T) tls.Certificate { c := trusted.sign(t, plain); c.PrivateKey = other.key; return c }, false},
		"an expired one": {nil, func(t *testing.T) tls.Certificate {
			return trusted.sign(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		}, false},
		"one for servers": {nil, func(t *testing.T) tls.Certificate {
			return trusted.sign(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
		}, false},
		"the right common name": {[]string{"a", "kube-apiserver"}, func(t *testing.T) tls.Certificate { return trusted.sign(t, plain) }, true},
		"the right DNS name": {[]string{"api.example.org"}, func(t *testing.T) tls.Certificate {
			return trusted.sign(t, func(c *x509.Certificate) { c.DNSNames = []string{"x", "api.example.org"} })
		}, true},
		"the right URI": {[]string{"spiffe://x/api"}, func(t *testing.T) tls.Certificate {
			return trusted.sign(t, func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x", Path: "/api"}} })
		}, true},
		"another name": {[]string{"kube-apiserver"}, func(t *testing.T) tls.Certificate {
			return trusted.sign(t, func(c *x509.Certificate) { c.Subject.CommonName = "system:node:a" })
		}, false},
		"a longer name": {[]string{"kube-apiserver"}, func(t *testing.T) tls.Certificate {
			return trusted.sign(t, func(c *x509.Certificate) { c.Subject.CommonName = "kube-apiserver-kubelet-client" })
		}, false},
		"no name": {[]string{"kube-apiserver"}, func(t *testing.T) tls.Certificate {
			return trusted.sign(t, func(c *x509.Certificate) { c.Subject = pkix.Name{} })
		}, false},
		"the right name, no certificate":  {[]string{"kube-apiserver"}, nil, false},
		"the right name, other authority": {[]string{"kube-apiserver"}, func(t *testing.T) tls.Certificate { return other.sign(t, plain) }, false},
		"the right name as organisation": {[]string{"system:masters"}, func(t *testing.T) tls.Certificate {
			return trusted.sign(t, func(c *x509.Certificate) { c.Subject.Organization = []string{"system:masters"} })
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "ca.crt")
			write(t, file, trusted.pem)
			c, err := newCallers(file, tt.names, logr.Discard())
			must(t, err)
			var asked atomic.Int32
			d := openDoor(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); fmt.Fprint(w, "judged") }), c.required)
			var shown *tls.Certificate
			if tt.certificate != nil {
				shown = new(tt.certificate(t))
			}
			answer, err := d.as(shown)
			if tt.served {
				if err != nil || answer != "judged" {
					t.Errorf("answered %q, %v", answer, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "tls: ") || asked.Load() != 0 {
				t.Errorf("answered %q, %v, judged %d times; want a refusal in the handshake", answer, err, asked.Load())
			}
		})
	}
}

func TestTheAuthoritiesOfCallersAreReadAgain(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	write(t, file, before.pem)
	var logged atomic.Int32
	c, err := newCallers(file, nil, funcr.New(func(_, _ string) { logged.Add(1) }, funcr.Options{}))
	must(t, err)
	d := openDoor(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "judged") }), c.required)
	d.sessions = tls.NewLRUClientSessionCache(8)
	one, two := before.sign(t, func(*x509.Certificate) {}), after.sign(t, func(*x509.Certificate) {})
	expect := func(when string, first, second bool) {
		t.Helper()
		for certificate, want := range map[*tls.Certificate]bool{&one: first, &two: second} {
			// Twice: a session that is resumed is not served for that.
			for range 2 {
				if _, err := d.as(certificate); (err == nil) != want {
					t.Errorf("%s: the certificate of the first authority: %t, served: %v", when, certificate == &one, err)
				}
			}
		}
	}
	expect("at first", true, false)
	write(t, file, append(append([]byte{}, before.pem...), after.pem...))
	expect("with both", true, true)
	write(t, file, after.pem)
	expect("with the second", false, true)
	write(t, file, nil)
	expect("with an empty file", false, true)
	must(t, os.Remove(file))
	expect("with none", false, true)
	if n := logged.Load(); n != 2 {
		t.Errorf("%d lines were logged, want one for each thing that is wrong", n)
	}
}

func TestCallersNeedTheirAuthority(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty"), nil)
	write(t, filepath.Join(dir, "text"), []byte("no certificate"))
	write(t, filepath.Join(dir, "broken"), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	for _, name := range []string{"absent", "empty", "text", "broken"} {
		t.Run(name, func(t *testing.T) {
			_, err := newCallers(filepath.Join(dir, name), nil, logr.Discard())
			if err == nil || !strings.HasPrefix(err.Error(), "webhook.clientCAFile: ") || !strings.Contains(err.Error(), filepath.Join(dir, name)) {
				t.Errorf("%v, want an error that names the field and the file", err)
			}
		})
	}
}
