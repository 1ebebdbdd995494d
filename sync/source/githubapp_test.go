// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

// fakeGitHub stands in for GitHub's API: it gives an installation's token to
// whoever shows a word signed with the app's key. The git server beside it is
// real.
type fakeGitHub struct {
	key    *rsa.PublicKey
	lasts  time.Duration
	issued atomic.Int64
	status int
}

func (f *fakeGitHub) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if f.status != 0 {
		http.Error(w, token, f.status)
		return
	}
	word, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	parts := strings.Split(word, ".")
	if req.Method != http.MethodPost || req.URL.Path != "/api/v3/app/installations/42/access_tokens" || len(parts) != 3 {
		http.Error(w, "no", http.StatusNotFound)
		return
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || rsa.VerifyPKCS1v15(f.key, crypto.SHA256, sum[:], signature) != nil {
		http.Error(w, "bad signature", http.StatusUnauthorized)
		return
	}
	var claims struct {
		Iss      string
		Iat, Exp int64
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Iss != "7" || claims.Exp-claims.Iat > 660 || claims.Iat > time.Now().Unix() {
		http.Error(w, "bad claims", http.StatusUnauthorized)
		return
	}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": fmt.Sprintf("%s-%d", token, f.issued.Add(1)), "expires_at": time.Now().Add(f.lasts).UTC().Format(time.RFC3339),
	})
}

func TestGitHubApp(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	r := newRepo(t)
	r.write("a.yaml", "one")
	r.push("First")

	tests := map[string]struct {
		github *fakeGitHub
		change func(*source.GitHubApp)
		tokens int64
		reason string
		says   string
	}{
		"a token is kept until its end":  {github: &fakeGitHub{lasts: time.Hour}, tokens: 1},
		"one that ends is renewed":       {github: &fakeGitHub{lasts: time.Minute}, tokens: 5},
		"another key":                    {change: func(a *source.GitHubApp) { a.PrivateKey = otherRSA(t) }, reason: source.ReasonAuthFailed, says: "GitHub gives the app no token (HTTP status 401)"},
		"an app that is not installed":   {change: func(a *source.GitHubApp) { a.InstallationID = "43" }, reason: source.ReasonAuthFailed, says: "HTTP status 404"},
		"GitHub is down":                 {github: &fakeGitHub{status: http.StatusBadGateway}, reason: source.ReasonUnreachable, says: "HTTP status 502"},
		"GitHub limits":                  {github: &fakeGitHub{status: http.StatusTooManyRequests}, reason: source.ReasonRateLimited, says: "limits how often"},
		"no installation":                {change: func(a *source.GitHubApp) { a.InstallationID = "" }, reason: source.ReasonAuthFailed, says: "githubAppInstallationID"},
		"an installation that is a path": {change: func(a *source.GitHubApp) { a.InstallationID = "../../x" }, reason: source.ReasonAuthFailed, says: "githubAppInstallationID (a number)"},
		"a key that is none":             {change: func(a *source.GitHubApp) { a.PrivateKey = []byte("hello") }, reason: source.ReasonAuthFailed, says: "no RSA key in PEM"},
		"a base URL without TLS":         {change: func(a *source.GitHubApp) { a.BaseURL = "http://github.example.org" }, reason: source.ReasonAuthFailed, says: "githubAppBaseURL is no https URL"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := test.github
			if f == nil {
				f = &fakeGitHub{lasts: time.Hour}
			}
			f.key = &key.PublicKey
			web := serve(t, r, func(req *http.Request) bool {
				user, pass, _ := req.BasicAuth()
				return user == "x-access-token" && pass == fmt.Sprintf("%s-%d", token, f.issued.Load())
			})
			api := httptest.NewTLSServer(f)
			t.Cleanup(api.Close)
			app := source.GitHubApp{ID: "7", InstallationID: "42", PrivateKey: private, BaseURL: api.URL + "/api/v3"}
			if test.change != nil {
				test.change(&app)
			}
			req := source.Request{URL: web.url(), Branch: "main", Auth: source.Auth{CA: append(web.ca, certificateOf(api)...), GitHubApp: app}}
			s := newStore(t, t.TempDir())
			got, err := s.Fetch(t.Context(), req)
			if test.reason != "" {
				refused(t, err, test.reason, test.says)
				return
			}
			if err != nil || read(t, got.FS, "a.yaml") != "one" {
				t.Fatal(err)
			}
			req.LastCommit = got.Revision.Commit
			mustFetch(t, s, req)
			mustFetch(t, s, req)
			if n := f.issued.Load(); test.tokens == 1 && n != 1 || test.tokens > 1 && n < 2 {
				t.Errorf("%d tokens were asked for", n)
			}
		})
	}
}

func otherRSA(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
