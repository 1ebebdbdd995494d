// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// pushToken is what the git server signs with.
const pushToken = "a token of the benchmark's git server"

// push measures the size of a replica over what s has applied, and then the
// time from a push to the first apply: a git server over TLS tells the replica
// of each push.
func (b *bench) push(s *stage) error {
	err := s.client.Create(s.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: pushSecret}, StringData: map[string]string{"token": pushToken},
	})
	if err != nil {
		return err
	}
	_, p, err := b.replica(s, b.objects)
	if err != nil {
		return err
	}
	defer p.stop()
	b.say("measuring pushes")
	server, err := s.server()
	if err != nil {
		return err
	}
	defer server.Close()
	plain, err := b.plain()
	if err != nil {
		return err
	}
	const namespace, name, pushes = "pushed", "pushed", 12
	if err := create(s.ctx, plain, namespace); err != nil {
		return err
	}
	applied := make(chan event, pushes+1)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	if err := watch(ctx, plain, namespace, func(e event) { applied <- e }); err != nil {
		return err
	}
	if err := s.write(namespace, "first"); err != nil {
		return err
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	url := server.URL + "/" + filepath.Base(s.repo)
	err = errors.Join(
		s.client.Create(s.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}, Data: map[string][]byte{"ca.crt": ca}}),
		s.client.Create(s.ctx, &v1alpha1.GitSync{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
			Spec: v1alpha1.GitSyncSpec{
				Source: v1alpha1.Source{
					URL: url, Ref: v1alpha1.Ref{Branch: "main"}, Path: "pushed",
					SecretRef: &v1alpha1.LocalRef{Name: name},
				},
				Interval:    &metav1.Duration{Duration: time.Hour},
				Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
			},
		}),
	)
	if err != nil {
		return err
	}
	if err := await(ctx, applied, "first"); err != nil {
		return fmt.Errorf("%w; %s", err, s.said(name))
	}
	var took times
	for i := range pushes {
		value := fmt.Sprintf("push-%d", i)
		if err := s.write(namespace, value); err != nil {
			return err
		}
		start := time.Now()
		if err := told(s.ctx, p.url, url); err != nil {
			return err
		}
		if err := await(ctx, applied, value); err != nil {
			return err
		}
		took = append(took, time.Since(start))
	}
	b.report.add(row{
		Part: "sync", What: fmt.Sprintf("push to first apply, with a push webhook, %d objects held", b.objects), Result: took.String(),
		Budget: "≤ 1 s", Met: new(took.p99() <= time.Second),
	})
	return nil
}

// server serves the stage's repository over TLS, by git's own program.
func (s *stage) server() (*httptest.Server, error) {
	path, err := exec.CommandContext(s.ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("git --exec-path: %w", err)
	}
	return httptest.NewTLSServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(s.repo), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	}), nil
}

// write commits another value of the one object that is pushed.
func (s *stage) write(namespace, value string) error {
	o := object{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": object{"namespace": namespace, "name": "settings"}, "data": object{"key": value},
	}
	folder := filepath.Join(s.repo, "pushed")
	return errors.Join(
		os.MkdirAll(folder, 0o750),
		os.WriteFile(filepath.Join(folder, "settings.yaml"), encode(o), 0o600),
		s.git("add", "."), s.git("commit", "-q", "-m", value),
	)
}

// said is what a GitSync says of itself.
func (s *stage) said(name string) string {
	gs := &v1alpha1.GitSync{}
	if err := s.client.Get(s.ctx, types.NamespacedName{Namespace: s.namespace, Name: name}, gs); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%+v", gs.Status.Conditions)
}

// told posts what a git server says after a push, with its signature.
func told(ctx context.Context, address, url string) error {
	body := fmt.Appendf(nil, `{"ref":"refs/heads/main","repository":{"clone_url":%q}}`, url)
	mac := hmac.New(sha256.New, []byte(pushToken))
	mac.Write(body)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(string(said), "1 ") {
		return fmt.Errorf("the push was answered %s: %s", response.Status, said)
	}
	return nil
}

// await waits until a watch shows the value.
func await(ctx context.Context, seen <-chan event, value string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case e := <-seen:
			if e.value == value {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%q was not applied: %w", value, ctx.Err())
		}
	}
}
