// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mainstay-gitops/mainstay/config"
)

// secretOf holds an address and what belongs to it.
func secretOf(address string, more ...string) map[string][]byte {
	out := map[string][]byte{keyURL: []byte(address)}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = []byte(more[i+1])
	}
	return out
}

// sending runs a Notifier with one route to a receiver, tells it one notice and
// waits for what becomes of it.
func sending(t *testing.T, receiver config.Receiver, secret func() map[string][]byte, n Notice) (result string, errs []error) {
	t.Helper()
	var mu sync.Mutex
	notifier, err := New(Options{
		ClusterName: "prod",
		Config: config.Notifications{Queue: 10, Routes: []config.Route{{
			Name: "one", Type: receiver, SecretRef: config.SecretKey{Name: "s"},
			Severities: []config.Severity{config.SeverityCritical, config.SeverityInfo},
		}}},
		Secret: func(context.Context, string) (map[string][]byte, error) { return secret(), nil },
		Pauses: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond},
		Error:  func(err error) { mu.Lock(); errs = append(errs, err); mu.Unlock() },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- notifier.Start(ctx) }()
	notifier.Tell(n)
	for end := time.Now().Add(20 * time.Second); result == "" && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, r := range []string{resultSent, resultFailed} {
			if testutil.ToFloat64(notifier.results.WithLabelValues("one", r)) > 0 {
				result = r
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return result, errs
}

var emergency = Notice{
	GitSync: shop, Severity: config.SeverityCritical, Kind: "GrantUsed", Actor: "alice",
	Text: "alice: update of deployments.apps \"web\" <!channel> @everyone", Fields: map[string]string{"decision": "7f3k2"},
}

// got is a request that an HTTP receiver was sent.
type got struct{ path, auth, body string }

// listen is a real HTTP server that answers with the statuses, the last one for
// ever.
func listen(t *testing.T, statuses ...int) (*httptest.Server, func() []got) {
	t.Helper()
	var mu sync.Mutex
	var all []got
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, got{r.URL.Path, r.Header.Get("Authorization"), string(body)})
		status := http.StatusOK
		if len(statuses) > 0 {
			status = statuses[min(len(all), len(statuses))-1]
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "ok") // what Slack's hooks answer
	}))
	t.Cleanup(server.Close)
	return server, func() []got { mu.Lock(); defer mu.Unlock(); return all }
}

func TestAWebhookIsSentJSONAndTriedAgain(t *testing.T) {
	server, received := listen(t, http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusNoContent)
	server.StartTLS()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	result, errs := sending(t, config.ReceiverWebhook, func() map[string][]byte {
		return secretOf(server.URL+"/hook", keyToken, "t0ken", keyCA, ca)
	}, emergency)
	if result != resultSent || len(errs) > 0 {
		t.Fatalf("%s, %v", result, errs)
	}
	all := received()
	if len(all) != 3 || all[2].path != "/hook" || all[2].auth != "Bearer t0ken" {
		t.Fatalf("received %+v", all)
	}
	var p Payload
	if err := json.Unmarshal([]byte(all[2].body), &p); err != nil {
		t.Fatal(err)
	}
	want := Payload{
		Version: "v1", Cluster: "prod", GitSync: "mainstay-system/shop", Actor: "alice", Severity: config.SeverityCritical,
		Title: "[prod] critical: GrantUsed in mainstay-system/shop by alice", Text: p.Text,
		Notices: []PayloadNotice{{Time: p.Notices[0].Time, Kind: "GrantUsed", Severity: config.SeverityCritical, Text: emergency.Text, Count: 1, Fields: emergency.Fields}},
	}
	if diff := cmp.Diff(want, p); diff != "" || !strings.Contains(p.Text, emergency.Text) {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
}

func TestWhatIsGivenUpIsCountedAndTheAddressConcealed(t *testing.T) {
	server, received := listen(t, http.StatusForbidden)
	server.Start()
	result, errs := sending(t, config.ReceiverWebhook, func() map[string][]byte {
		return secretOf(strings.Replace(server.URL, "http://", "http://user:passw0rd@", 1)+"/s3cr3tpath?key=s3cr3tquery", keyToken, "s3cr3ttoken")
	}, emergency)
	if result != resultFailed || len(received()) != 4 || len(errs) != 1 {
		t.Fatalf("%s after %d attempts: %v", result, len(received()), errs)
	}
	if text := errs[0].Error(); !strings.Contains(text, "notify route one: gave up after 4 attempts") || !strings.Contains(text, "403") {
		t.Errorf("the error does not say what is wrong: %s", text)
	}
	server.Close() // whose errors show the whole address
	_, errs2 := sending(t, config.ReceiverWebhook, func() map[string][]byte {
		return secretOf("http://user:passw0rd@"+server.Listener.Addr().String()+"/s3cr3tpath?key=s3cr3tquery", keyToken, "s3cr3ttoken")
	}, emergency)
	for _, err := range append(errs, errs2...) {
		for _, secret := range []string{"passw0rd", "s3cr3tpath", "s3cr3tquery", "s3cr3ttoken"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("an error shows %s: %v", secret, err)
			}
		}
	}
	if len(errs2) != 1 || !strings.Contains(errs2[0].Error(), "connection refused") {
		t.Errorf("unreachable: %v", errs2)
	}
}

func TestANewAddressNeedsNoRestart(t *testing.T) {
	server, received := listen(t)
	server.Start()
	var reads atomic.Int32
	result, _ := sending(t, config.ReceiverWebhook, func() map[string][]byte {
		if reads.Add(1) < 3 {
			return nil // no such key yet
		}
		return secretOf(server.URL)
	}, emergency)
	if result != resultSent || len(received()) != 1 {
		t.Errorf("%s, received %d", result, len(received()))
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	elsewhere, received := listen(t)
	elsewhere.Start()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	if result, _ := sending(t, config.ReceiverWebhook, func() map[string][]byte { return secretOf(server.URL) }, emergency); result != resultFailed || len(received()) != 0 {
		t.Errorf("%s, and %d messages went elsewhere", result, len(received()))
	}
}

// redirected sends what is meant for the services of others to a local server:
// the requests are real, only the name is resolved otherwise. It is not for
// parallel tests, since Shoutrrr uses the default transport.
func redirected(t *testing.T, server *httptest.Server) {
	t.Helper()
	before := http.DefaultTransport
	local := server.Client().Transport.(*http.Transport).Clone() //nolint:forcetypeassert // It always is.
	local.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
	}
	local.TLSClientConfig.InsecureSkipVerify = true
	http.DefaultTransport = local
	t.Cleanup(func() { http.DefaultTransport = before })
}

func TestTheServicesOfOthersAreReachedByTheAddressThatTheyShow(t *testing.T) {
	key := strings.Repeat("0123456789abcdef", 2)
	uuid := "11111111-1111-1111-1111-111111111111"
	tests := map[string]struct {
		receiver    config.Receiver
		address     string
		path        string
		holds, lack []string
	}{
		"Slack": {
			config.ReceiverSlack, "https://hooks.slack.com/services/T00000000/B00000000/" + strings.Repeat("x", 24),
			"/services/T00000000/B00000000/" + strings.Repeat("x", 24),
			[]string{"critical: GrantUsed in mainstay-system/shop by alice", `\u0026lt;!channel\u0026gt;`},
			[]string{"<!channel>"},
		},
		"Discord": {
			config.ReceiverDiscord, "https://discord.com/api/webhooks/123456789012345678/" + strings.Repeat("t", 68),
			"/api/webhooks/123456789012345678/" + strings.Repeat("t", 68),
			[]string{"critical: GrantUsed in mainstay-system/shop by alice"},
			[]string{"@everyone"},
		},
		"PagerDuty": {
			config.ReceiverPagerDuty, key, "/v2/enqueue",
			[]string{`"routing_key":"` + key, `"severity":"critical"`, "GrantUsed in mainstay-system/shop by alice", `"decision":"7f3k2"`},
			nil,
		},
		"Teams, a connector": {
			config.ReceiverTeams, "https://shop.webhook.office.com/webhookb2/" + uuid + "@" + uuid + "/IncomingWebhook/" + key + "/" + uuid + "/V2abcdef",
			"/webhookb2/" + uuid + "@" + uuid + "/IncomingWebhook/" + key + "/" + uuid + "/V2abcdef",
			[]string{"GrantUsed", "MessageCard"},
			nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server, received := listen(t)
			server.StartTLS()
			redirected(t, server)
			result, errs := sending(t, tt.receiver, func() map[string][]byte { return secretOf(tt.address) }, emergency)
			all := received()
			if result != resultSent || len(all) != 1 {
				t.Fatalf("%s, %v, received %+v", result, errs, all)
			}
			if all[0].path != tt.path {
				t.Errorf("path %s, want %s", all[0].path, tt.path)
			}
			for _, want := range tt.holds {
				if !strings.Contains(all[0].body, want) {
					t.Errorf("the body lacks %s: %s", want, all[0].body)
				}
			}
			for _, not := range tt.lack {
				if strings.Contains(all[0].body, not) {
					t.Errorf("the body holds %s: %s", not, all[0].body)
				}
			}
		})
	}
}

func TestAWorkflowOfTeamsIsSentACard(t *testing.T) {
	server, received := listen(t, http.StatusAccepted)
	server.Start()
	result, errs := sending(t, config.ReceiverTeams, func() map[string][]byte { return secretOf(server.URL + "/workflows/1") }, emergency)
	if result != resultSent || !strings.Contains(received()[0].body, "AdaptiveCard") || !strings.Contains(received()[0].body, "GrantUsed") {
		t.Errorf("%s, %v, %+v", result, errs, received())
	}
}

// An address that is wrong in itself is told without being shown.
func TestABadAddressIsAnErrorThatDoesNotShowIt(t *testing.T) {
	for _, receiver := range []config.Receiver{
		config.ReceiverSlack, config.ReceiverTeams, config.ReceiverDiscord, config.ReceiverEmail, config.ReceiverPagerDuty, config.ReceiverWebhook, config.ReceiverAlertmanager,
	} {
		for _, address := range []string{"s3cr3tvalue", "https://s3cr3tvalue:%zz/", "smtp://s3cr3tvalue"} {
			a, err := newAddress(config.Route{Type: receiver}, secretOf(address))
			if err != nil {
				t.Fatal(err)
			}
			err = a.conceal(a.send(t.Context(), message(emergency)))
			if err == nil || strings.Contains(err.Error(), "s3cr3tvalue") {
				t.Errorf("%s at %s: %v", receiver, address, err)
			}
		}
	}
}

// mail is what an SMTP server was given.
type mail struct{ from, to, auth, data string }

// smtpServer is a small real SMTP server that refuses the first mails.
func smtpServer(t *testing.T, refuse int) (string, <-chan mail) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	mails := make(chan mail, 10)
	go func() {
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if err := serveMail(conn, n < refuse, mails); err != nil && !errors.Is(err, io.EOF) {
				t.Log(err)
			}
		}
	}()
	return listener.Addr().String(), mails
}

func serveMail(conn net.Conn, refuse bool, mails chan<- mail) error {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	say := func(text string) { fmt.Fprintf(conn, "%s\r\n", text) }
	say("220 test")
	var m mail
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSpace(line)
		switch verb, rest, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
		case "EHLO", "HELO":
			say("250-test")
			say("250 AUTH PLAIN")
		case "AUTH":
			m.auth = rest
			say("235 ok")
		case "MAIL":
			if refuse {
				say("451 try again")
				continue
			}
			m.from = rest
			say("250 ok")
		case "RCPT":
			m.to += rest
			say("250 ok")
		case "DATA":
			say("354 go on")
			for {
				text, err := in.ReadString('\n')
				if err != nil {
					return err
				}
				if text == ".\r\n" {
					break
				}
				m.data += text
			}
			mails <- m
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return nil
		default:
			say("250 ok")
		}
	}
}

func TestMailIsSentByARealServer(t *testing.T) {
	host, mails := smtpServer(t, 1)
	result, errs := sending(t, config.ReceiverEmail, func() map[string][]byte {
		return secretOf("smtp://me:passw0rd@" + host + "/?from=mainstay@shop.example&to=oncall@shop.example&starttls=no")
	}, emergency)
	if result != resultSent {
		t.Fatalf("%s, %v", result, errs)
	}
	m := <-mails
	if !strings.Contains(m.from, "mainstay@shop.example") || !strings.Contains(m.to, "oncall@shop.example") || !strings.HasPrefix(m.auth, "PLAIN") {
		t.Errorf("envelope %+v", m)
	}
	if !strings.Contains(m.data, "GrantUsed in mainstay-system/shop by alice") || !strings.Contains(m.data, `update of deployments.apps "web"`) {
		t.Errorf("mail %s", m.data)
	}
}
