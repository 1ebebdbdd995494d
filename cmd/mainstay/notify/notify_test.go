// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config"
)

var shop = types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}

func notice(severity config.Severity, kind, actor, text string) Notice {
	return Notice{GitSync: shop, Severity: severity, Kind: kind, Actor: actor, Text: text}
}

func message(notices ...Notice) *Message {
	m := &Message{Cluster: "prod", GitSync: shop.String(), Actor: notices[0].Actor}
	for _, n := range notices {
		n.Time = time.Date(2026, 11, 26, 3, 10, 0, 0, time.UTC)
		m.add(n)
	}
	return m
}

func TestAMessageSaysTheMostInItsTitle(t *testing.T) {
	one := notice(config.SeverityInfo, "ChangeRefused", "alice", "alice: update of deployments.apps \"web\"")
	tests := map[string]struct {
		notices     []Notice
		title, text string
	}{
		"one notice": {
			[]Notice{one},
			"[prod] info: ChangeRefused in mainstay-system/shop by alice",
			`03:10:00Z ChangeRefused: alice: update of deployments.apps "web"`,
		},
		"the same again": {
			[]Notice{one, one, one},
			"[prod] info: ChangeRefused ×3 in mainstay-system/shop by alice",
			`03:10:00Z ChangeRefused: alice: update of deployments.apps "web" (×3)`,
		},
		"others as well, and the highest severity": {
			[]Notice{one, notice(config.SeverityCritical, "GrantUsed", "alice", "an emergency")},
			"[prod] critical: ChangeRefused and 1 more in mainstay-system/shop by alice",
			"03:10:00Z ChangeRefused: alice: update of deployments.apps \"web\"\n03:10:00Z GrantUsed: an emergency",
		},
		"nobody did it": {
			[]Notice{notice(config.SeverityWarning, "Fight", "", "two controllers")},
			"[prod] warning: Fight in mainstay-system/shop",
			"03:10:00Z Fight: two controllers",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := message(tt.notices...)
			if diff := cmp.Diff([]string{tt.title, tt.text}, []string{m.Title(), m.Text()}); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
	var many []Notice
	for i := range maxLines + 5 {
		many = append(many, notice(config.SeverityInfo, "ChangeRefused", "alice", fmt.Sprint(i)))
	}
	if m := message(many...); !strings.HasSuffix(m.Text(), "\n… and 5 more: mainstay log --since 1h") || !strings.Contains(m.Title(), "and 24 more") {
		t.Errorf("a long message: %s\n%s", m.Title(), m.Text())
	}
}

// gathered runs a Notifier for the notices that tell sends, with messages taken
// from the workers instead of being sent.
func gathered(t *testing.T, window time.Duration, tell func(n *Notifier)) []string {
	t.Helper()
	n, err := New(Options{
		ClusterName: "prod",
		Config: config.Notifications{Window: metav1.Duration{Duration: window}, Queue: 100, Routes: []config.Route{{
			Name: "all", Severities: []config.Severity{config.SeverityInfo, config.SeverityCritical}, Type: config.ReceiverWebhook,
		}}},
		Secret: func(context.Context, string) (map[string][]byte, error) { return nil, errors.New("none") },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.sort(ctx, nil); close(done) }()
	tell(n)
	cancel()
	<-done
	close(n.routes[0].messages)
	var titles []string
	for m := range n.routes[0].messages {
		titles = append(titles, strings.TrimPrefix(m.Title(), "[prod] "))
	}
	return titles
}

func TestNoticesOfAWindowBecomeOneMessage(t *testing.T) {
	info := func(actor, text string) Notice {
		return notice(config.SeverityInfo, "ChangeRefused", actor, text)
	}
	critical := notice(config.SeverityCritical, "MainstayOff", "", "off")
	tests := map[string]struct {
		tell func(n *Notifier)
		want []string
	}{
		"of one account": {func(n *Notifier) {
			n.Tell(info("keda", "a"))
			time.Sleep(50 * time.Second)
			n.Tell(info("keda", "b"))
			time.Sleep(20 * time.Second)
		}, []string{"info: ChangeRefused and 1 more in mainstay-system/shop by keda"}},
		"another account has its own": {func(n *Notifier) {
			n.Tell(info("keda", "a"))
			time.Sleep(time.Second)
			n.Tell(info("alice", "a"))
			time.Sleep(2 * time.Minute)
		}, []string{"info: ChangeRefused in mainstay-system/shop by keda", "info: ChangeRefused in mainstay-system/shop by alice"}},
		"what comes later is another message": {func(n *Notifier) {
			n.Tell(info("keda", "a"))
			time.Sleep(5 * time.Minute)
			n.Tell(info("keda", "b"))
			time.Sleep(5 * time.Minute)
		}, []string{"info: ChangeRefused in mainstay-system/shop by keda", "info: ChangeRefused in mainstay-system/shop by keda"}},
		"the same again is told once an hour": {func(n *Notifier) {
			for range 3 * 60 {
				n.Tell(info("keda", "a"))
				time.Sleep(59500 * time.Millisecond)
			}
		}, []string{
			"info: ChangeRefused ×2 in mainstay-system/shop by keda",
			"info: ChangeRefused ×2 in mainstay-system/shop by keda",
			"info: ChangeRefused ×2 in mainstay-system/shop by keda",
		}},
		"what waits is sent at the end": {func(n *Notifier) {
			n.Tell(info("keda", "a"))
		}, []string{"info: ChangeRefused in mainstay-system/shop by keda"}},
		"a critical one does not wait, its repetitions do": {func(n *Notifier) {
			n.Tell(critical)
			synctest.Wait()
			if got := len(n.routes[0].messages); got != 1 {
				t.Errorf("%d messages at once, want 1", got)
			}
			for range 5 {
				n.Tell(critical)
			}
			synctest.Wait()
			if got := len(n.routes[0].messages); got != 1 {
				t.Errorf("%d messages within the window, want 1", got)
			}
			time.Sleep(61 * time.Second)
		}, []string{"critical: MainstayOff in mainstay-system/shop", "critical: MainstayOff ×5 in mainstay-system/shop"}},
		"a critical one takes with it what waits": {func(n *Notifier) {
			n.Tell(info("", "a"))
			synctest.Wait()
			n.Tell(critical)
			synctest.Wait()
			if got := len(n.routes[0].messages); got != 1 {
				t.Errorf("%d messages at once, want 1", got)
			}
		}, []string{"critical: ChangeRefused and 1 more in mainstay-system/shop"}},
		"what no route takes is sent nowhere": {func(n *Notifier) {
			n.Tell(notice(config.SeverityWarning, "Fight", "", "a"))
		}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if diff := cmp.Diff(tt.want, gathered(t, time.Minute, tt.tell)); diff != "" {
					t.Errorf("messages (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestTellingNeverWaitsAndCountsWhatFindsNoRoom(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	n, err := New(Options{
		Registerer: registry,
		Config:     config.Notifications{Queue: 2, Routes: []config.Route{{Name: "chat", Type: config.ReceiverWebhook, Severities: []config.Severity{config.SeverityInfo}}}},
		Secret:     func(context.Context, string) (map[string][]byte, error) { return nil, errors.New("none") },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		n.Notify(shop, "info", "ChangeRefused", "alice", "text", nil) // nobody sorts
	}
	if got := testutil.ToFloat64(n.results.WithLabelValues("", resultDropped)); got != 3 {
		t.Errorf("%v notices dropped, want 3", got)
	}
	r := n.routes[0]
	for range 5 {
		r.hand(message(notice(config.SeverityInfo, "ChangeRefused", "alice", "text"))) // nobody sends
	}
	if got := testutil.ToFloat64(r.dropped); got != 3 {
		t.Errorf("%v messages dropped, want 3", got)
	}
	if got := testutil.CollectAndCount(n.results); got != 4 {
		t.Errorf("%d series, want one for the queue and three for the route", got)
	}
}

func TestRoutesAreFollowedWhileTheNotifierRuns(t *testing.T) {
	window := metav1.Duration{Duration: 10 * time.Millisecond}
	route := func(name string, kinds ...string) config.Route {
		return config.Route{Name: name, Kinds: kinds, Severities: []config.Severity{config.SeverityCritical}, Type: config.ReceiverWebhook, SecretRef: config.SecretKey{Name: name}}
	}
	heard := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.URL.Path }))
	t.Cleanup(receiver.Close)
	registry := prometheus.NewRegistry()
	n, err := New(Options{
		Config: config.Notifications{Window: window, Queue: 100}, Registerer: registry,
		Secret: func(_ context.Context, name string) (map[string][]byte, error) {
			return map[string][]byte{"url": []byte(receiver.URL + "/" + name)}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		_ = n.Start(ctx)
		close(done)
	}()
	// tell tells of something new until one of the routes is heard.
	tell := func(kind, want string) {
		t.Helper()
		for i := range 200 {
			n.Tell(Notice{Severity: config.SeverityCritical, Kind: kind, Text: fmt.Sprint(want, i)})
			select {
			case got := <-heard:
				if got == "/"+want {
					return
				}
			case <-time.After(50 * time.Millisecond):
			}
		}
		t.Fatalf("%s does not reach %s", kind, want)
	}
	n.Configure(config.Notifications{Window: window, Queue: 100, Routes: []config.Route{route("a")}})
	tell("Fight", "a")
	n.Configure(config.Notifications{Window: window, Queue: 100, Routes: []config.Route{route("a", "Fight"), route("b", "MainstayOff")}})
	tell("MainstayOff", "b")
	tell("Fight", "a")
	n.Configure(config.Notifications{Window: window, Queue: 100, Routes: []config.Route{route("b", "MainstayOff")}})
	tell("MainstayOff", "b")
	cancel()
	<-done
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "route" && label.GetValue() == "a" {
					t.Error("the route that is gone is still exported")
				}
			}
		}
	}
}

func TestAnUnknownSeverityIsAWarning(t *testing.T) {
	n, err := New(Options{
		Config: config.Notifications{Queue: 1, Routes: []config.Route{{Name: "chat"}}},
		Secret: func(context.Context, string) (map[string][]byte, error) { return map[string][]byte{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Notify(shop, "loud", "Fight", "", "text", nil)
	if got := <-n.queue; got.Severity != config.SeverityWarning {
		t.Errorf("severity %q", got.Severity)
	}
}

func TestRoutesNeedSecrets(t *testing.T) {
	_, err := New(Options{Config: config.Notifications{Queue: 1, Routes: []config.Route{{Name: "chat"}}}})
	if err == nil || !strings.Contains(err.Error(), "Options.Secret") {
		t.Errorf("got error %v", err)
	}
}
