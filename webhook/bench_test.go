// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// large makes a Deployment of a usual size: a review of about 10 KB.
func large(object map[string]any) {
	environment := make([]any, 0, 40)
	for i := range 40 {
		environment = append(environment, map[string]any{"name": fmt.Sprintf("VARIABLE_%d", i), "value": strings.Repeat("v", 60)})
	}
	set([]any{map[string]any{"name": "web", "image": "nginx:1.27", "env": environment}}, "spec", "template", "spec", "containers")(object)
}

func BenchmarkHandler(b *testing.B) {
	for name, review := range map[string]asked{
		"nothing held changes": deployment("UPDATE", live(b, large), live(b, large, set(float64(1), "status", "replicas"))),
		"rejected":             deployment("UPDATE", live(b, large), live(b, large, set(float64(5), "spec", "replicas"))),
	} {
		b.Run(name, func(b *testing.B) {
			f := newFixture(b, index(b, v1alpha1.ModeEnforce))
			body := review.body(b)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			reader := strings.NewReader(body)
			r := httptest.NewRequest(http.MethodPost, Path(pathToken, EntryHeld)+"?timeout=3s", nil)
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(body))
			w := discard{http.Header{}}
			for b.Loop() {
				reader.Reset(body)
				r.Body = io.NopCloser(reader)
				f.handler.ServeHTTP(w, r)
				f.recorder.decisions = f.recorder.decisions[:0]
			}
		})
	}
}
