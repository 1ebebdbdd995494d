// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package receive_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/sync/receive"
)

const secret = "0123456789abcdef"

// gitSyncs stands in for the API server: it lists, and keeps what is written.
// That a real one takes the write is tried in sync/loop.
type gitSyncs struct {
	client.Client
	items  []v1alpha1.GitSync
	marked []string
}

func (g *gitSyncs) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.GitSyncList).Items = g.items
	return nil
}

func (g *gitSyncs) Status() client.SubResourceWriter { return &status{of: g} }

type status struct {
	client.SubResourceWriter
	of *gitSyncs
}

func (s *status) Patch(_ context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	if o.(*v1alpha1.GitSync).Status.LastPush.IsZero() {
		return errors.New("nothing is marked")
	}
	s.of.marked = append(s.of.marked, o.GetName())
	return nil
}

func gitSync(name, url string, ref v1alpha1.Ref) v1alpha1.GitSync {
	gs := v1alpha1.GitSync{Spec: v1alpha1.GitSyncSpec{Source: v1alpha1.Source{URL: url, Ref: ref}}}
	gs.Name = name
	return gs
}

func mac(body, key string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(body))
	return hex.EncodeToString(h.Sum(nil))
}

const (
	github     = `{"ref":"refs/heads/main","repository":{"clone_url":"https://git.example.org/Shop/web.git","ssh_url":"git@git.example.org:Shop/web.git"}}`
	gitlab     = `{"ref":"refs/heads/main","repository":{"name":"web","homepage":"https://git.example.org/shop/web"},"project":{"id":7}}`
	cloud      = `{"push":{"changes":[{"old":null,"new":{"type":"branch","name":"main"}}]},"repository":{"links":{"html":{"href":"https://git.example.org/shop/web"}}}}`
	dataCenter = `{"changes":[{"refId":"refs/heads/main"}],"repository":{"links":{"clone":[{"href":"https://git.example.org/scm/shop/web.git"},{"href":"ssh://git@git.example.org:7999/shop/web.git"}]}}}`
	tagged     = `{"ref":"refs/tags/v1.2.0","repository":{"clone_url":"https://git.example.org/shop/web.git"}}`
)

func TestPush(t *testing.T) {
	t.Parallel()
	items := []v1alpha1.GitSync{
		gitSync("https", "https://git.example.org/shop/web.git", v1alpha1.Ref{Branch: "main"}),
		gitSync("ssh", "ssh://git@git.example.org/shop/web", v1alpha1.Ref{Name: "refs/heads/main"}),
		gitSync("next", "https://git.example.org/shop/web.git", v1alpha1.Ref{Branch: "next"}),
		gitSync("tag", "https://git.example.org/shop/web.git", v1alpha1.Ref{Tag: "v1.2.0"}),
		gitSync("range", "https://git.example.org/shop/web.git", v1alpha1.Ref{SemVer: "1.x"}),
		gitSync("pinned", "https://git.example.org/shop/web.git", v1alpha1.Ref{Commit: strings.Repeat("0", 40)}),
		gitSync("other", "https://git.example.org/shop/api.git", v1alpha1.Ref{Branch: "main"}),
		gitSync("elsewhere", "https://git.example.com/shop/web.git", v1alpha1.Ref{Branch: "main"}),
		gitSync("folder", "file:///srv/web.git", v1alpha1.Ref{Branch: "main"}),
	}
	right := func(body string) string { return "sha256=" + mac(body, secret) }
	tests := map[string]struct {
		body    string
		headers map[string]string
		method  string
		code    int
		marked  string
	}{
		"GitHub":                               {github, map[string]string{"X-Hub-Signature-256": right(github), "X-Hub-Signature": "sha1=whatever"}, "", 200, "https ssh"},
		"GitLab":                               {gitlab, map[string]string{"X-Gitlab-Token": secret}, "", 200, "https ssh"},
		"Gitea":                                {github, map[string]string{"X-Gitea-Signature": mac(github, secret)}, "", 200, "https ssh"},
		"Forgejo":                              {github, map[string]string{"X-Forgejo-Signature": mac(github, secret), "X-Hub-Signature-256": right(github)}, "", 200, "https ssh"},
		"Bitbucket":                            {cloud, map[string]string{"X-Hub-Signature": right(cloud)}, "", 200, "https ssh"},
		"Bitbucket's own server":               {dataCenter, map[string]string{"X-Hub-Signature": right(dataCenter)}, "", 200, "https ssh"},
		"a tag":                                {tagged, map[string]string{"X-Hub-Signature-256": right(tagged)}, "", 200, "tag range"},
		"no signature":                         {github, nil, "", 401, ""},
		"a signature by another secret":        {github, map[string]string{"X-Hub-Signature-256": "sha256=" + mac(github, "x")}, "", 401, ""},
		"a signature of another body":          {github, map[string]string{"X-Hub-Signature-256": right(tagged)}, "", 401, ""},
		"a signature without its prefix":       {github, map[string]string{"X-Hub-Signature-256": mac(github, secret)}, "", 401, ""},
		"only a signature with SHA-1":          {github, map[string]string{"X-Hub-Signature": "sha1=whatever"}, "", 401, ""},
		"a right signature beside a wrong one": {github, map[string]string{"X-Gitea-Signature": mac(github, secret), "X-Hub-Signature-256": "sha256=00"}, "", 401, ""},
		"an empty signature":                   {github, map[string]string{"X-Gitea-Signature": ""}, "", 401, ""},
		"a wrong token":                        {gitlab, map[string]string{"X-Gitlab-Token": secret + "x"}, "", 401, ""},
		"another method":                       {github, map[string]string{"X-Hub-Signature-256": right(github)}, http.MethodPut, 405, ""},
		"no JSON":                              {"x", map[string]string{"X-Hub-Signature-256": right("x")}, "", 400, ""},
		"a body that is too long":              {strings.Repeat("x", 5<<20), map[string]string{"X-Gitlab-Token": secret}, "", 413, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := &gitSyncs{items: append([]v1alpha1.GitSync(nil), items...)}
			r := newReceiver(t, api, []byte(secret))
			method := test.method
			if method == "" {
				method = http.MethodPost
			}
			req := httptest.NewRequestWithContext(t.Context(), method, "/push", strings.NewReader(test.body))
			for k, v := range test.headers {
				req.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			r.ServeHTTP(w, req)
			if w.Code != test.code {
				t.Errorf("answer %d, want %d: %s", w.Code, test.code, w.Body)
			}
			if got := strings.Join(api.marked, " "); got != test.marked {
				t.Errorf("marked %q, want %q", got, test.marked)
			}
			if strings.Contains(w.Body.String(), secret) {
				t.Error("the answer has the secret")
			}
		})
	}
}

func newReceiver(t *testing.T, c client.Client, key []byte) *receive.Receiver {
	t.Helper()
	r, err := receive.New(receive.Options{
		BindAddress: ":0", Client: c, Secret: func(context.Context) ([]byte, error) { return key, nil }, Error: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnEmptySecretIsNobodys(t *testing.T) {
	t.Parallel()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/push", strings.NewReader(gitlab))
	req.Header.Set("X-Gitlab-Token", "")
	w := httptest.NewRecorder()
	newReceiver(t, &gitSyncs{}, nil).ServeHTTP(w, req)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("answer %d", w.Code)
	}
}

func TestAFloodIsLimited(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, &gitSyncs{}, []byte(secret))
	last := 0
	for range 100 {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/push", strings.NewReader("x")))
		last = w.Code
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the hundredth request is answered with %d", last)
	}
}
