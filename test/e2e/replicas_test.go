// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// replica is one of several controllers, or one with another configuration
// than the sandbox's.
type replica struct {
	t                        *testing.T
	webhook, metrics, health string
	cmd                      *exec.Cmd
	ended                    chan error
}

// startReplica starts the program with the sandbox's configuration and some
// changes to its webhook part.
func startReplica(t *testing.T, webhook map[string]any) *replica {
	t.Helper()
	r := &replica{t: t, webhook: freeAddress(t), metrics: freeAddress(t), health: freeAddress(t), ended: make(chan error, 1)}
	raw, err := os.ReadFile(filepath.Join(shared.State.Dir, "config.yaml"))
	world.Must(t, err)
	var config map[string]any
	world.Must(t, yaml.Unmarshal(raw, &config))
	dir := t.TempDir()
	config["webhook"].(map[string]any)["bindAddress"] = r.webhook
	maps.Copy(config["webhook"].(map[string]any), webhook)
	config["metrics"] = map[string]any{"bindAddress": r.metrics}
	config["health"] = map[string]any{"bindAddress": r.health}
	config["decisions"] = map[string]any{"bindAddress": "0"}
	config["leaderElection"] = map[string]any{"enabled": true}
	config["sync"] = map[string]any{"cacheDir": filepath.Join(dir, "cache")}
	raw, err = yaml.Marshal(config)
	world.Must(t, err)
	file := filepath.Join(dir, "config.yaml")
	world.Must(t, os.WriteFile(file, raw, 0o600))
	log, err := os.OpenFile(shared.State.ControllerLog(), os.O_APPEND|os.O_WRONLY, 0o600)
	world.Must(t, err)
	defer log.Close()
	r.cmd = exec.Command(shared.Program, "controller", "--config", file, "--kubeconfig", filepath.Join(shared.State.Dir, "controller.kubeconfig"))
	r.cmd.Stdout, r.cmd.Stderr = log, log
	world.Must(t, r.cmd.Start())
	go func() { r.ended <- r.cmd.Wait() }()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		r.ended <- <-r.ended // it has ended
	})
	return r
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	world.Must(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func get(address, path string) (int, string) {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func (r *replica) ready() bool {
	status, _ := get(r.health, "/readyz")
	return status == http.StatusOK
}

func (r *replica) awaitReady() *replica {
	r.t.Helper()
	shared.Await(r.t, "the replica is ready", func() (bool, string) {
		status, body := get(r.health, "/readyz?verbose")
		return status == http.StatusOK, body
	})
	return r
}

func (r *replica) signal(signal os.Signal) {
	r.t.Helper()
	world.Must(r.t, r.cmd.Process.Signal(signal))
}

// awaitEnd returns how it ended, within a time.
func (r *replica) awaitEnd(within time.Duration) error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(within):
		r.t.Fatalf("it still runs after %s\n%s", within, shared.Log())
		return nil
	}
}

// withoutController stops the sandbox's controller for the rest of a test, and
// clears away the lease of whoever led before: it would have to run out.
func withoutController(t *testing.T) {
	t.Helper()
	world.Must(t, shared.Controller(t).Stop(t.Context(), 10*time.Second))
	t.Cleanup(func() { shared.RestartIfDown(t) })
	if out, err := run(t, "admin", "mainstay-system", "", "delete lease mainstay --ignore-not-found"); err != nil {
		t.Fatal(out)
	}
}

// service plays a Service and its endpoint controller: it passes connections
// on to replicas that are ready, and notices what is not ready a second late.
// Connections that there are, it leaves alone.
type service struct {
	mu        sync.Mutex
	endpoints []*replica
}

func startService(t *testing.T, address string) *service {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	world.Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	s := &service{}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go s.pass(client)
		}
	}()
	return s
}

func (s *service) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	s.mu.Lock()
	var chosen *replica
	if len(s.endpoints) > 0 {
		chosen = s.endpoints[int(time.Now().UnixNano())%len(s.endpoints)]
	}
	s.mu.Unlock()
	if chosen == nil {
		return
	}
	server, err := net.Dial("tcp", chosen.webhook)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
}

// add makes a ready replica an endpoint, until a second after it is not.
func (s *service) add(t *testing.T, r *replica) {
	t.Helper()
	r.awaitReady()
	s.mu.Lock()
	s.endpoints = append(s.endpoints, r)
	s.mu.Unlock()
	go func() {
		for r.ready() {
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.endpoints = slices.DeleteFunc(s.endpoints, func(e *replica) bool { return e == r })
	}()
}

// leads waits until some replica, other than the holder before, has the lease.
func leads(t *testing.T, before string) string {
	t.Helper()
	var holder string
	shared.Await(t, "a replica leads", func() (bool, string) {
		out, err := run(t, "admin", "mainstay-system", "", "get lease mainstay -o jsonpath={.spec.holderIdentity}")
		holder = out
		return err == nil && out != "" && out != before, out
	})
	return holder
}

func TestARollingRestartLosesNoRequest(t *testing.T) {
	const ns = "rolling"
	names := declaredConfigMaps(t, ns)
	withoutController(t)
	const delay = 3 * time.Second
	settings := map[string]any{"shutdownDelay": delay.String()}
	s := startService(t, fmt.Sprintf("127.0.0.1:%d", shared.State.Ports.Webhook))
	first := startReplica(t, settings)
	s.add(t, first)
	holder := leads(t, "")
	second := startReplica(t, settings)
	s.add(t, second)

	var tr traffic
	tr.start(t, ns, names, func(err error) bool { return strings.Contains(err.Error(), "denied the request") })
	for _, leaving := range []*replica{first, second} {
		if leaving == second { // its successor is there before it goes
			s.add(t, startReplica(t, settings))
		}
		tr.flows(t)
		asked := time.Now()
		leaving.signal(syscall.SIGTERM)
		shared.Await(t, "it is no longer ready", func() (bool, string) { return !leaving.ready(), "" })
		if took := time.Since(asked); took > delay/2 {
			t.Errorf("it was ready for another %s", took)
		}
		if status, body := get(leaving.metrics, "/metrics"); status != http.StatusOK || !strings.Contains(body, "mainstay_decisions_total") {
			t.Errorf("metrics while it leaves: status %d", status)
		}
		if status, _ := get(leaving.health, "/healthz"); status != http.StatusOK {
			t.Errorf("it is not alive while it leaves: status %d", status)
		}
		holder = leads(t, holder)
		t.Logf("another replica leads after %s", time.Since(asked))
		if err := leaving.awaitEnd(40 * time.Second); err != nil {
			t.Errorf("it ended with %v", err)
		}
		if took := time.Since(asked); took < delay {
			t.Errorf("it ended after %s, before API servers noticed", took)
		}
		tr.flows(t)
		shared.Pushed(t, map[string]string{ns + "/more.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more, namespace: " + ns + "}\ndata: {holder: " + holder + "}\n"})
	}
	tr.end(t)
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	withoutController(t)
	r := startReplica(t, map[string]any{"shutdownDelay": "5m"}).awaitReady()
	r.signal(syscall.SIGTERM)
	shared.Await(t, "it is no longer ready", func() (bool, string) { return !r.ready(), "" })
	r.signal(os.Interrupt)
	err := r.awaitEnd(5 * time.Second)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v, want the signal to have ended it", err)
	}
}

func TestAWebhookThatCannotBeReachedIsNotTheOutage(t *testing.T) {
	const ns = "unreachable"
	app(t, ns)
	withoutController(t)
	// A firewall that drops: connections are taken, and nothing ever comes back.
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	world.Must(t, err)
	defer hole.Close()
	startReplica(t, map[string]any{"url": "https://" + hole.Addr().String()})
	took := shared.Await(t, "the status says what is wrong", func() (bool, string) {
		c := condition(t, "Enforcing")
		return c.Status == metav1.ConditionFalse && c.Reason == "WebhookIgnore" && strings.Contains(c.Message, "was not seen to reach the webhook"), c.Reason + " " + c.Message
	})
	t.Logf("said after %s", took)
	if out := failurePolicies(t); strings.Contains(out, "Fail") {
		t.Errorf("failure policies %s: an entry fails closed at an address that was never reached", out)
	}
	if out, err := run(t, "alice", ns, "", "label deployment web a=b"); err != nil {
		t.Errorf("what cannot be judged is not let through: %s", out)
	}
	took = shared.Await(t, "the label is taken off again", func() (bool, string) {
		d := web(t, ns)
		return d.Labels["a"] == "", d.ResourceVersion
	})
	t.Logf("reverted after %s", took)
}
