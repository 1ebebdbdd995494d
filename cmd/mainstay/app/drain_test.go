// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// service plays the Service and the client of an API server: it connects to
// any of its endpoints, and keeps the connections that it has.
type service struct {
	mu        sync.Mutex
	endpoints []*door
	client    *http.Client
}

func newService(endpoints ...*door) *service {
	s := &service{endpoints: endpoints}
	transport := &http.Transport{
		MaxIdleConnsPerHost: 25, IdleConnTimeout: 90 * time.Second, // as client-go has them
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			s.mu.Lock()
			chosen := s.endpoints[rand.IntN(len(s.endpoints))]
			s.mu.Unlock()
			return (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, network, chosen.server.address)
		},
	}
	s.client = &http.Client{Transport: transport}
	return s
}

// remove takes an endpoint out for new connections. A connection that is idle
// both sides may close at any time: here it is the client, as it is after 90
// seconds, since no server can rule out that a request is just on its way.
func (s *service) remove(endpoint *door) {
	s.mu.Lock()
	s.endpoints = slices.DeleteFunc(s.endpoints, func(d *door) bool { return d == endpoint })
	s.mu.Unlock()
	s.client.CloseIdleConnections()
}

func (s *service) post(body string) error {
	response, err := s.client.Post("https://service/admit/held", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || string(answer) != body) {
		err = fmt.Errorf("status %d, answer %q to %q", response.StatusCode, answer, body)
	}
	return err
}

func TestNoRequestIsLostWhenAReplicaEnds(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		time.Sleep(rand.N(2 * time.Millisecond)) // judging takes its time
		_, _ = w.Write(body)
	})
	stays, ends := openDoor(t, echo), openDoor(t, echo)
	s := newService(stays, ends)
	defer s.client.CloseIdleConnections()

	var sent, lost atomic.Int64
	var first atomic.Pointer[error]
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for i := range 16 {
		senders.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.post(fmt.Sprint(i, "/", n)); err != nil {
					lost.Add(1)
					first.CompareAndSwap(nil, &err)
				}
				sent.Add(1)
			}
		})
	}
	settled := func(more int64) {
		t.Helper()
		from := sent.Load()
		must(t, await(t.Context(), func() bool { return sent.Load() >= from+more }))
	}
	settled(200)
	ended := make(chan error, 1)
	go func() { ended <- ends.server.drain(t.Context(), 1500*time.Millisecond) }()
	// The endpoint controller takes a second to notice.
	must(t, await(t.Context(), func() bool { return ends.server.ready(nil) != nil }))
	time.AfterFunc(time.Second, func() { s.remove(ends) })
	if err := <-ended; err != nil {
		t.Errorf("drain: %v", err)
	}
	settled(200)
	close(stop)
	senders.Wait()
	if n := lost.Load(); n > 0 {
		t.Errorf("%d of %d requests were lost; the first: %v", n, sent.Load(), *first.Load())
	}
	t.Logf("%d requests", sent.Load())
}

// judge refuses when it has thought for as long as it takes, or when its time
// is over.
type judge struct {
	takes time.Duration
	begun chan struct{}
}

func (judge) Prompt(*policy.Change) bool { return false }

func (j judge) Decide(ctx context.Context, _ *policy.Change) policy.Decision {
	close(j.begun)
	reason := "thought about it"
	select {
	case <-time.After(j.takes):
	case <-ctx.Done():
		reason = "out of time"
	}
	return policy.Decision{ID: "7f3k2", Verdict: policy.Refuse, Class: policy.RulePolicy, Reason: reason}
}

type nobody struct{}

func (nobody) Record(*policy.Change, policy.Decision)                      {}
func (nobody) Keep(context.Context, *policy.Change, policy.Decision) error { return nil }

func TestASlowRequestIsAnsweredThoughTheReplicaEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		takes   time.Duration
		timeout string
		within  time.Duration
		want    string
	}{
		"with its verdict":                  {800 * time.Millisecond, "10s", 5 * time.Second, "thought about it"},
		"refused when its own time is over": {time.Minute, "1s", 2 * time.Second, "out of time"}, // a busy machine's second
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := ownership.NewIndex()
			must(t, index.Replace(&ownership.Sync{Namespace: "mainstay-system", Name: "shop", Mode: v1alpha1.ModeEnforce, Generation: 1}, []*ownership.Entry{{
				ID: ownership.ID{Kind: "ConfigMap", Namespace: "shop", Name: "c"}, Version: "v1", Resource: "configmaps",
				Applied: &ownership.Content{File: "c.yaml", Line: 1, Baseline: json.RawMessage(`{"data":{"a":"b"}}`), Fields: json.RawMessage(`{"f:data":{"f:a":{}}}`)},
			}}))
			token := strings.Repeat("0", 32)
			j := judge{tt.takes, make(chan struct{})}
			handler, err := webhook.New(webhook.Options{
				Index: index, Judge: j, Recorder: nobody{}, Permits: nobody{}, Namespace: "mainstay-system", SyncAccount: "mainstay", Token: token,
			})
			must(t, err)
			d := openDoor(t, handler)
			type answer struct {
				review admissionv1.AdmissionReview
				after  time.Duration
				close  bool
				err    error
			}
			answers := make(chan answer, 1)
			go func() {
				var a answer
				started := time.Now()
				defer func() { a.after = time.Since(started); answers <- a }()
				var response *http.Response
				response, a.err = d.client.Post(d.url+webhook.Path(token, webhook.EntryHeld)+"?timeout="+tt.timeout, "application/json", strings.NewReader(`{
					"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1","operation":"UPDATE","namespace":"shop",
					"kind":{"version":"v1","kind":"ConfigMap"},"resource":{"version":"v1","resource":"configmaps"},"userInfo":{"username":"alice"},
					"oldObject":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"shop","name":"c"},"data":{"a":"b"}},
					"object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"shop","name":"c"},"data":{"a":"c"}}}}`))
				if a.err != nil {
					return
				}
				defer response.Body.Close()
				a.close = response.Close
				a.err = json.NewDecoder(response.Body).Decode(&a.review)
			}()
			<-j.begun
			if err := d.server.drain(t.Context(), 0); err != nil {
				t.Errorf("drain: %v", err)
			}
			a := <-answers
			must(t, a.err)
			if r := a.review.Response; r == nil || r.Allowed || !strings.Contains(r.Result.Message, tt.want) {
				t.Errorf("the response is %+v, want a refusal that says %q", r, tt.want)
			}
			if a.after > tt.within {
				t.Errorf("answered after %s, want at most %s", a.after, tt.within)
			}
			if !a.close {
				t.Error("the client was not told to close the connection")
			}
		})
	}
}

func TestWhileItDrainsAReplicaIsNotReadyAndStillAccepts(t *testing.T) {
	d := openDoor(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "judged") }))
	if _, body := d.get("/admit/held"); body != "judged" {
		t.Fatalf("body %q", body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.server.drain(ctx, time.Hour) }()
	must(t, await(t.Context(), func() bool { return d.server.ready(nil) != nil }))
	for connection, client := range map[string]*http.Client{
		"kept": d.client, "new": {Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	} {
		response, err := client.Get(d.url + "/admit/held")
		must(t, err)
		var body bytes.Buffer
		_, err = body.ReadFrom(response.Body)
		must(t, errors.Join(err, response.Body.Close()))
		if body.String() != "judged" || !response.Close {
			t.Errorf("over a %s connection: body %q, told to close it: %t", connection, body.String(), response.Close)
		}
	}
	// What serves may fail meanwhile: then there is nothing to wait for.
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
	if _, err := d.client.Get(d.url + "/admit/held"); err == nil {
		t.Error("it still accepts connections")
	}
}

func TestAReplicaThatNeverServedEndsAtOnce(t *testing.T) {
	s := newServer(freeAddress(t), http.NotFoundHandler(), &tls.Config{MinVersion: tls.VersionTLS12}, logr.Discard())
	must(t, s.drain(t.Context(), time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Start(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Start after that: %v", err)
	}
}
