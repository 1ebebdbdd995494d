// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// A server runs in a process of its own, so that the garbage of one is not
// collected in the time of the other.
const (
	roleVariable = "MAINSTAY_BENCH_ROLE"
	roleNothing  = "no-op"
	roleMainstay = "mainstay"
	roleReplica  = "replica"
	dirVariable  = "MAINSTAY_BENCH_DIR"
	// profileVariable names a folder for the profile of what a replica keeps.
	profileVariable = "MAINSTAY_BENCH_PROFILE"
)

// peer is a server that runs beside the benchmark.
type peer struct {
	// url of its webhook; a replica's is that of its push webhook.
	url    string
	pid    int
	client *http.Client
	stop   func()
}

// start runs this program again in a role. It ends with this process, whatever
// happens to it: its standard input ends then.
func (b *bench) start(role string) (*peer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(b.ctx, program)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, dirVariable+"="+b.dir, profileVariable+"="+b.profile)
	cmd.Stderr = b.progress
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := sync.OnceFunc(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // It was asked to end; how it ended is of no interest.
	})
	b.stops = append(b.stops, stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	return &peer{url: strings.TrimSpace(line), pid: cmd.Process.Pid, stop: stop}, nil
}

// serve is what a peer does: it writes the URL of its webhook and serves until
// its input ends.
func serve(ctx context.Context, role string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	dir := os.Getenv(dirVariable)
	if role == roleReplica {
		return serveReplica(ctx, dir, out)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if role == roleNothing {
		_ = listener.Close() // That server opens its own.
		return serveNothing(ctx, dir, address, out)
	}
	handler, err := newHandler(ctx, policies(20, true))
	if err != nil {
		return err
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return err
	}
	var seen atomic.Int64
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == callsPath {
			fmt.Fprintln(w, seen.Load())
			return
		}
		seen.Add(1)
		handler.ServeHTTP(w, r)
	})
	// As the process does it.
	s := &http.Server{
		Handler:           counted,
		ReadHeaderTimeout: 5 * time.Second,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{certificate},
		},
	}
	go func() {
		<-ctx.Done()
		_ = s.Close()
	}()
	fmt.Fprintln(out, "https://"+address+webhook.Path(webhookToken, webhook.EntryHeld)+"?timeout=3s")
	if err := s.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// serveNothing is a webhook as controller-runtime makes it, that allows all.
func serveNothing(ctx context.Context, dir, address string, out io.Writer) error {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	s := ctrlwebhook.NewServer(ctrlwebhook.Options{Host: host, Port: port, CertDir: dir})
	s.Register("/admit", &admission.Webhook{Handler: admission.HandlerFunc(
		func(context.Context, admission.Request) admission.Response { return admission.Allowed("") })})
	failed := make(chan error, 1)
	go func() { failed <- s.Start(ctx) }()
	for s.StartedChecker()(nil) != nil {
		select {
		case err := <-failed:
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
	fmt.Fprintln(out, "https://"+address+"/admit")
	return <-failed
}

// permits keeps nothing: the API write that it makes is not what is compared.
type permits struct{}

func (permits) Keep(context.Context, *policy.Change, policy.Decision) error { return nil }

// webhookToken is any: a process makes its own.
const webhookToken = "0123456789abcdef0123456789abcdef"

// newHandler is Mainstay's handler with everything real behind it: what is
// declared, the policies, the ledger.
func newHandler(ctx context.Context, modules map[string]string) (*webhook.Handler, error) {
	engine, err := newEngine(ctx, modules)
	if err != nil {
		return nil, err
	}
	index := ownership.NewIndex()
	if err := surface(index); err != nil {
		return nil, err
	}
	declared, _, _ := reviews()
	entries := []*ownership.Entry{record(declared), patchedRecord()}
	for i := range 998 {
		entries = append(entries, record(deployment("other", fmt.Sprintf("app-%d", i), 4)))
	}
	if err := index.Replace(head(), entries); err != nil {
		return nil, err
	}
	return handlerOf(engine, index)
}

func handlerOf(engine *policy.Engine, index *ownership.Index) (*webhook.Handler, error) {
	recorder, err := audit.New(audit.Options{Ledger: io.Discard})
	if err != nil {
		return nil, err
	}
	return webhook.New(webhook.Options{
		Index: index, Judge: engine, Recorder: recorder, Permits: permits{},
		Namespace: ownNamespace, SyncAccount: syncAccount, Token: webhookToken,
		CanGet: func(context.Context, *policy.User, schema.GroupVersionResource, string, string) bool { return true },
	})
}

func newEngine(ctx context.Context, modules map[string]string) (*policy.Engine, error) {
	engine, err := policy.New(ctx, policy.Options{ClusterName: "prod"})
	if err != nil {
		return nil, err
	}
	if len(modules) > 0 {
		if _, err := engine.Load(ctx, policy.Source{Key: "changepolicy/mainstay-system/bench", Modules: modules}); err != nil {
			return nil, err
		}
	}
	return engine, nil
}
