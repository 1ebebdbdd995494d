// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/app"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/webhook/registration"
)

// few is the number of objects by which the growth of memory is measured.
const few = 1000

// pushSecret names the Secret of a replica's push webhook.
const pushSecret = "push"

// sizes measures the size of replicas that hold nothing and so many objects,
// beside which those that hold more are seen.
func (b *bench) sizes(numbers ...int) error {
	cluster, err := b.server()
	if err != nil {
		return err
	}
	if err := foreign(b.ctx, cluster.RESTConfig(controlplane.Admin)); err != nil {
		return err
	}
	for i, n := range append([]int{0}, numbers...) {
		s, err := b.newStage(fmt.Sprintf("holds-%d", n))
		if err != nil {
			return err
		}
		if n > 0 {
			if err := s.commit(n, configMap); err != nil {
				return err
			}
			if _, err := s.sync(); err != nil {
				return err
			}
		}
		s.stop()
		r, p, err := b.replica(s, n)
		if err != nil {
			return err
		}
		p.stop()
		if n == 0 {
			b.bare = r
		}
		if err := s.unregister(); err != nil {
			return err
		}
		if n > 0 && i < len(numbers) { // nothing comes after the last
			if err := s.close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// replica starts the whole process over what s has applied, and reports its
// size.
func (b *bench) replica(s *stage, objects int) (residence, *peer, error) {
	var settled residence
	if _, err := b.certificate(); err != nil {
		return settled, nil, err
	}
	if err := b.cluster.WriteKubeconfig(filepath.Join(b.dir, "kubeconfig")); err != nil {
		return settled, nil, err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "namespace"), []byte(s.namespace), 0o600); err != nil {
		return settled, nil, err
	}
	b.say("starting a replica that holds %d objects", objects)
	p, err := b.start(roleReplica)
	if err != nil {
		return settled, nil, err
	}
	if settled, err = settle(b.ctx, p.pid); err != nil {
		return settled, nil, err
	}
	line := row{
		Part: "sync", What: fmt.Sprintf("memory of a replica that leads, %d objects held, %d foreign kinds", objects, foreignKinds),
		Result: fmt.Sprintf("%d MB resident (%d MB of it the program), %d MB at most", settled.now>>20, settled.file>>20, settled.peak>>20),
	}
	if objects > 0 {
		line.Ratio = fmt.Sprintf("%.1f KB an object", float64(settled.now-settled.file-b.bare.now+b.bare.file)/float64(objects)/1e3)
	}
	if objects == 10000 {
		line.Budget, line.Met = "≤ 150 MB", new(settled.now <= 150<<20)
	}
	b.report.add(line)
	return settled, p, nil
}

// unregister takes away what a replica has left: nobody answers any more.
func (s *stage) unregister() error {
	return errors.Join(
		s.client.Delete(s.ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: registration.Name}}),
		client.IgnoreNotFound(s.client.Delete(s.ctx, &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: registration.Name}})),
	)
}

// foreignKinds are custom resources that nothing of Mainstay is about: a
// cluster has many.
const foreignKinds = 100

func foreign(ctx context.Context, config *rest.Config) error {
	var all []*unstructured.Unstructured
	for i := range foreignKinds {
		name := fmt.Sprintf("kind%ds", i)
		all = append(all, &unstructured.Unstructured{Object: object{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
			"metadata": object{"name": name + ".foreign.example.org"},
			"spec": object{
				"group": "foreign.example.org", "scope": "Namespaced",
				"names": object{"plural": name, "singular": fmt.Sprintf("kind%d", i), "kind": fmt.Sprintf("Kind%d", i), "listKind": fmt.Sprintf("Kind%dList", i)},
				"versions": []any{object{
					"name": "v1", "served": true, "storage": true,
					"schema": object{"openAPIV3Schema": object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
				}},
			},
		}})
	}
	return controlplane.Install(ctx, config, all)
}

// resident reads a process's memory; Linux alone tells.
func resident(pid int) (r residence, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		switch name {
		case "VmRSS":
			r.now = kilobytes << 10
		case "RssFile":
			r.file = kilobytes << 10
		case "VmHWM":
			r.peak = kilobytes << 10
		}
	}
	return r, nil
}

// residence is a process's memory in bytes.
type residence struct {
	// now and peak are what is resident and was at most; file is the part of now
	// that is the program's own file, which replicas on one node share.
	now, peak, file int64
}

// A replica's memory is looked at once it was within a few MB for so long, but
// not before, nor after, so long from its start.
const (
	replicaIsCalm  = 10 * time.Second
	replicaSettles = 20 * time.Second
	replicaAtMost  = 5 * time.Minute
	calm           = 4 << 20
)

func settle(ctx context.Context, pid int) (residence, error) {
	start := time.Now()
	var at residence
	since := start
	for {
		r, err := resident(pid)
		if err != nil {
			return r, err
		}
		now := time.Now()
		if d := r.now - at.now; d > calm || d < -calm {
			at, since = r, now
		}
		if took := now.Sub(start); took > replicaAtMost || took > replicaSettles && now.Sub(since) > replicaIsCalm {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// serveReplica runs the whole process and writes a line when it is ready.
func serveReplica(ctx context.Context, dir string, out io.Writer) error {
	restConfig, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		return err
	}
	namespace, err := os.ReadFile(filepath.Join(dir, "namespace"))
	if err != nil {
		return err
	}
	// Admission knows it by its account, like anyone.
	restConfig.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + string(namespace) + ":mainstay", Groups: []string{"system:masters"},
	}
	var addresses [3]string
	for i := range addresses {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses[i] = listener.Addr().String()
		_ = listener.Close()
	}
	c := config.Default()
	c.Namespace = string(namespace)
	c.Webhook.BindAddress, c.Health.BindAddress, c.Metrics.BindAddress = addresses[0], addresses[1], "0"
	c.Decisions.BindAddress = "0"
	c.Webhook.URL, c.Webhook.Service = "https://"+addresses[0], nil
	c.Sync.CacheDir = filepath.Join(dir, "replica")
	c.LeaderElection.Enabled = false
	c.Sync.PushWebhook = &config.PushWebhook{BindAddress: addresses[2], SecretName: pushSecret}
	failed := make(chan error, 1)
	go func() {
		failed <- app.Run(ctx, app.Options{Config: c, REST: restConfig, Version: "bench", Ledger: io.Discard, Log: io.Discard})
	}()
	for {
		response, err := http.Get("http://" + addresses[1] + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				fmt.Fprintln(out, "http://"+addresses[2]+"/push")
				if folder := os.Getenv(profileVariable); folder != "" {
					select {
					case err := <-failed:
						return err
					case <-time.After(replicaSettles * 3 / 4):
						err = heap(filepath.Join(folder, "replica.heap"))
					}
					return errors.Join(err, <-failed)
				}
				return <-failed
			}
		}
		select {
		case err := <-failed:
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// heap writes what is kept, and what was made so far.
func heap(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(file), file.Close())
}
