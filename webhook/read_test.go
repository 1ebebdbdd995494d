// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

// serve sends a body to an entry and returns what comes back.
func (f *fixture) serve(entry, query string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, Path(pathToken, entry)+query, body)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

func TestBodiesThatAreRefused(t *testing.T) {
	valid := deployment("UPDATE", live(t), live(t)).body(t)
	within := func(member, text string) string {
		return strings.Replace(valid, `"`+member+`":{`, `"`+member+`":{`+text+`,`, 1)
	}
	nested := func(depth int) string {
		return within("options", `"deep":`+strings.Repeat("[", depth)+strings.Repeat("]", depth))
	}
	tests := map[string]struct {
		body string
		want int
	}{
		"as it is":                       {valid, 200},
		"deep":                           {nested(250), 200},
		"too deep":                       {nested(300), 400},
		"far too deep":                   {nested(1 << 20), 400},
		"too large":                      {within("options", `"a":"`+strings.Repeat("x", maxBody)+`"`), 413},
		"two users":                      {within("request", `"userInfo":{"username":"system:apiserver"}`), 400},
		"two users, one escaped":         {within("request", `"user\u0049nfo":{"username":"system:apiserver"}`), 400},
		"two usernames":                  {within("userInfo", `"username":"system:apiserver"`), 400},
		"two objects":                    {within("request", `"object":{"metadata":{"name":"web"}}`), 400},
		"two requests":                   {strings.TrimSuffix(valid, "}") + `,"request":{"uid":"x"}}`, 400},
		"two kinds":                      {within("kind", `"kind":"ConfigMap"`), 400},
		"two resources":                  {within("resource", `"resource":"configmaps"`), 400},
		"more members than any envelope": {within("userInfo", strings.TrimSuffix(strings.Repeat(`"a":1,`, 64), ",")), 400},
		"no object":                      {strings.Replace(valid, `"object":{`, `"object":[],"objects":{`, 1), 400},
		"more after the end":             {valid + "{}", 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce))
			w := f.serve(EntryHeld, "?timeout=3s", strings.NewReader(test.body))
			if w.Code != test.want {
				t.Errorf("status %d, want %d: %.200s", w.Code, test.want, w.Body)
			}
			if test.want != 200 && strings.Contains(w.Body.String(), `"allowed":true`) {
				t.Errorf("permitted: %s", w.Body)
			}
		})
	}
}

// silent is a body that blocks until it is released.
type silent struct{ release chan struct{} }

func (s silent) Read([]byte) (int, error) {
	<-s.release
	return 0, io.ErrUnexpectedEOF
}

func TestTooManyReviewsAreShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(2 * judgeIdle) // until the judges are gone
		body := deployment("UPDATE", live(t), live(t, image("nginx:1.28"))).body(t)
		f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) { o.InFlight = int64(len(body)) })
		slow := silent{make(chan struct{})}
		chunked := func() io.Reader { return struct{ io.Reader }{strings.NewReader(body)} } // whose size nobody knows
		go f.serve(EntryHeld, "?timeout=30s", slow)
		synctest.Wait()

		started := time.Now()
		w := f.serve(EntryHeld, "?timeout=2s", chunked())
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if waited := time.Since(started); waited != 2*time.Second-answerMargin {
			t.Errorf("waited %s, want the request's own time", waited)
		}
		if got := testutil.ToFloat64(f.handler.metrics.shed); got != 1 {
			t.Errorf("counted %v", got)
		}

		if w := f.serve(EntryHeld, "?timeout=2s", strings.NewReader(body)); w.Code != 200 {
			t.Errorf("a small one waits for large ones: status %d: %s", w.Code, w.Body)
		}

		// The next one waits for room, and finds it.
		go func() {
			time.Sleep(time.Second)
			close(slow.release)
		}()
		if w := f.serve(EntryHeld, "?timeout=2s", chunked()); w.Code != 200 || !strings.Contains(w.Body.String(), `"allowed":false`) {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
		if w := f.serve(EntryHeld, "?timeout=2s", chunked()); w.Code != 200 {
			t.Errorf("room is not given back: status %d: %s", w.Code, w.Body)
		}
	})
}

// TestManySmallValuesTakeRoom has a body whose values take far more memory than
// its text.
func TestManySmallValuesTakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(2 * judgeIdle) // until the judges are gone
		many := strings.Repeat("0,", 1<<17) + "0"
		numbers := func(object map[string]any) { object["data"] = "HERE" }
		body := strings.ReplaceAll(deployment("UPDATE", live(t, numbers), live(t, numbers)).body(t), `"HERE"`, "["+many+"]")
		inside, leave := make(chan struct{}), make(chan struct{})
		f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) { o.InFlight = 8 << 20 })
		f.judge.decide = func(*policy.Change) policy.Decision {
			close(inside)
			<-leave
			return policy.Decision{Verdict: policy.Refuse}
		}
		first := strings.Replace(body, `"image":"nginx:1.27"`, `"image":"nginx:1.28"`, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.serve(EntryHeld, "?timeout=30s", strings.NewReader(first))
		}()
		<-inside
		if w := f.serve(EntryHeld, "?timeout=2s", strings.NewReader(body)); w.Code != http.StatusServiceUnavailable {
			t.Errorf("a second one: status %d: %.200s", w.Code, w.Body)
		}
		if w := f.serve(EntryHeld, "?timeout=2s", strings.NewReader(deployment("UPDATE", live(t), live(t)).body(t))); w.Code != 200 {
			t.Errorf("a small one: status %d: %.200s", w.Code, w.Body)
		}
		close(leave)
		<-done
		if w := f.serve(EntryHeld, "?timeout=2s", strings.NewReader(body)); w.Code != 200 {
			t.Errorf("room is not given back: status %d: %.200s", w.Code, w.Body)
		}
	})
}

// broken panics when it is read.
type broken struct{}

func (broken) Read([]byte) (int, error) { panic("boom") }

func TestPanicsAreCountedAndAnswered(t *testing.T) {
	f := newFixture(t, index(t, v1alpha1.ModeEnforce))
	if w := f.serve(EntryHeld, "", broken{}); w.Code != http.StatusInternalServerError {
		t.Errorf("while reading: status %d: %s", w.Code, w.Body)
	}
	f.judge.decide = func(*policy.Change) policy.Decision { panic("boom") }
	if got := f.send(t, deployment("DELETE", live(t), nil)); got.Allowed || got.Result.Code != 500 {
		t.Errorf("while judging: %+v", got)
	}
	f.handler.options.NamespaceTerminating = func(string) bool { panic("boom") }
	if got := f.send(t, deployment("DELETE", live(t), nil)); got.Allowed || got.Result.Code != 500 {
		t.Errorf("elsewhere: %+v", got)
	}
	if got := testutil.ToFloat64(f.handler.metrics.panics); got != 3 || len(f.errors) != 3 {
		t.Errorf("counted %v, reported %d", got, len(f.errors))
	}
	f.handler.options.NamespaceTerminating = nil
	f.judge.decide = nil
	if got := f.send(t, deployment("DELETE", live(t), nil)); got.Allowed || got.Result.Code != 403 {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestTimeoutIsTheRequests(t *testing.T) {
	for query, want := range map[string]time.Duration{
		"?timeout=1s": time.Second, "?timeout=10s": 10 * time.Second, "?timeout=30s": 30 * time.Second,
		"?timeout=5m": maxTimeout, "?timeout=1ms": minTimeout,
		"": defaultTimeout, "?timeout=": defaultTimeout, "?timeout=soon": defaultTimeout, "?timeout=-1s": defaultTimeout,
		"?timeout=0s": defaultTimeout, "?timeout=99999999999999999h": defaultTimeout,
	} {
		r := httptest.NewRequest(http.MethodPost, Path(pathToken, EntryHeld)+query, nil)
		if got := timeout(r); got != want-answerMargin {
			t.Errorf("%q: %s, want %s", query, got, want-answerMargin)
		}
	}
}

// TestSlowPoliciesAreRefusedInTime has policies that take far longer than the
// request has, in steps that can be interrupted and in one that can't.
func TestSlowPoliciesAreRefusedInTime(t *testing.T) {
	// The range is made once: many of them would end at what functions may make.
	const slow = "package p\n\n%s contains {\"reason\": \"r\"%s} if {\n" +
		"\tr := numbers.range(1, 50000)\n\tcount([1 | some i in r; some j in r; i * j < 0]) == 0\n}"
	patient := policy.Options{Deadline: time.Hour}
	tests := map[string]struct {
		judge   Judge
		message string
	}{
		"a deny rule":                  {engine(t, patient, strings.NewReplacer("%s contains", "deny contains", "%s}", "}").Replace(slow)), "a deny rule could not be judged"},
		"an exception":                 {engine(t, patient, strings.NewReplacer("%s contains", "exception contains", "%s}", `, "paths": ["**"]}`).Replace(slow)), "no time to ask"},
		"a judge that does not listen": {deaf{}, "no time to ask"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) { o.Judge = test.judge })
			started := time.Now()
			w := f.serve(EntryHeld, "?timeout=1s", strings.NewReader(deployment("UPDATE", live(t), live(t, image("nginx:1.28"))).body(t)))
			if took := time.Since(started); took >= time.Second {
				t.Errorf("took %s", took)
			}
			if w.Code != 200 || !strings.Contains(w.Body.String(), `"allowed":false`) || !strings.Contains(w.Body.String(), test.message) {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			if len(f.recorder.decisions) != 1 || f.permits.kept > 0 {
				t.Errorf("recorded %+v, kept %d permits", f.recorder.decisions, f.permits.kept)
			}
		})
	}
}

func TestWhereAChangeIsJudged(t *testing.T) {
	t.Parallel()
	padding := func(object map[string]any) {
		set(strings.Repeat("x", usual), "metadata", "annotations", "padding")(object)
	}
	for name, test := range map[string]struct {
		prompt bool
		size   func(map[string]any)
		here   bool
	}{
		"prompt policies, where the request waits":               {prompt: true, size: large, here: true},
		"policies that can outlast their deadline, elsewhere":    {size: large},
		"any policies, of a review that is large, elsewhere too": {prompt: true, size: padding},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, index(t, v1alpha1.ModeEnforce))
			f.judge.prompt = test.prompt
			var here bool
			f.judge.decide = func(*policy.Change) policy.Decision {
				here = strings.Contains(string(debug.Stack()), "ServeHTTP")
				return policy.Decision{Verdict: policy.Refuse}
			}
			body := deployment("UPDATE", live(t, test.size), live(t, test.size, image("nginx:1.28"))).body(t)
			f.serve(EntryHeld, "?timeout=3s", strings.NewReader(body))
			if f.judge.asked != 1 || here != test.here {
				t.Errorf("asked %d times, here: %t", f.judge.asked, here)
			}
		})
	}
}

func TestAPermitThatComesTooLateIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, index(t, v1alpha1.ModeEnforce))
		f.judge.prompt = true
		f.judge.decide = func(*policy.Change) policy.Decision {
			time.Sleep(3 * time.Second)
			return policy.Decision{Verdict: policy.Permit, Class: policy.RulePolicy}
		}
		body := deployment("UPDATE", live(t), live(t, image("nginx:1.28"))).body(t)
		w := f.serve(EntryHeld, "?timeout=3s", strings.NewReader(body))
		if !strings.Contains(w.Body.String(), `"allowed":false`) {
			t.Errorf("%s", w.Body)
		}
	})
}

// deaf permits, but too late, and looks at the change until then.
type deaf struct{}

func (deaf) Prompt(*policy.Change) bool { return false }

func (deaf) Decide(_ context.Context, change *policy.Change) policy.Decision {
	for end := time.Now().Add(1200 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
		_ = change.Object.Get("metadata", "labels", "app").String()
	}
	return policy.Decision{ID: "7f3k2", Verdict: policy.Permit, Class: policy.RulePolicy}
}
