// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/app"
	"github.com/mainstay-gitops/mainstay/config"
)

// event is what a watch saw of a ConfigMap: the value of its field key.
type event struct {
	name, value string
	when        time.Time
}

// watch follows the ConfigMaps of a namespace by a bare watch.
func watch(ctx context.Context, plain rest.Interface, namespace string, seen func(event)) error {
	path := "/api/v1/namespaces/" + namespace + "/configmaps"
	raw, err := plain.Get().AbsPath(path).Param("limit", "1").Do(ctx).Raw()
	if err != nil {
		return err
	}
	version := fastjson.GetString(raw, "metadata", "resourceVersion")
	body, err := plain.Get().AbsPath(path).Param("watch", "true").Param("resourceVersion", version).Stream(ctx)
	if err != nil {
		return err
	}
	go func() {
		defer body.Close()
		decoder := json.NewDecoder(body)
		for {
			var line struct {
				Object struct {
					Metadata struct{ Name string }
					Data     struct{ Key string }
				}
			}
			if decoder.Decode(&line) != nil {
				return // The measurement is over.
			}
			seen(event{line.Object.Metadata.Name, line.Object.Data.Key, time.Now()})
		}
	}()
	return nil
}

// revert measures the time from the answer to a foreign write until a watch
// shows git's value again, beside the least that anyone could need: a bare
// watch and one apply.
func (b *bench) revert() error {
	plain, err := b.plain()
	if err != nil {
		return err
	}
	s, err := b.newStage("held")
	if err != nil {
		return err
	}
	b.say("applying %d objects", b.objects)
	if err := s.commit(b.objects); err != nil {
		return err
	}
	took, err := s.sync()
	if err != nil {
		return err
	}
	b.say("holding %d objects after %s", s.index.Len(), took.Round(time.Millisecond))
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	// The floor: whatever differs is applied again.
	const floor, held = "floor", "held-objects"
	if err := create(ctx, plain, floor); err != nil {
		return err
	}
	// As many as there are edits, nearly: who changes one field again and again is
	// taken for a fight, and slowed down.
	const names = 500
	for i := range names {
		if err := applyOne(ctx, plain, floor, fmt.Sprintf("settings-%05d", i), "floor", encode(configMap(floor, i))); err != nil {
			return err
		}
	}
	repairer, err := b.plain()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	err = watch(ctx, repairer, floor, func(e event) {
		if e.value == "git" {
			return
		}
		i, err := strconv.Atoi(strings.TrimPrefix(e.name, "settings-"))
		if err == nil {
			err = applyOne(ctx, repairer, floor, e.name, "floor", encode(configMap(floor, i)))
		}
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	restored := map[string]chan event{floor: make(chan event, 1000), held: make(chan event, 1000)}
	for namespace, to := range restored {
		if err := watch(ctx, plain, namespace, func(e event) {
			if e.value == "git" {
				to <- e
			}
		}); err != nil {
			return err
		}
	}
	b.say("measuring reverts")
	stop, err := b.profiled("revert")
	if err != nil {
		return err
	}
	measured := map[string]times{}
	const warm = 20
	for i := range b.samples/6 + warm {
		for n, namespace := range []string{floor, held} {
			if (i+n)%2 == 1 {
				namespace = map[string]string{floor: held, held: floor}[namespace]
			}
			took, err := drifted(ctx, plain, namespace, fmt.Sprintf("settings-%05d", i%names), i, restored[namespace], failed)
			if err != nil {
				return fmt.Errorf("revert in %s: %w", namespace, err)
			}
			if i >= warm {
				measured[namespace] = append(measured[namespace], took)
			}
		}
	}
	stop()
	base, mine := measured[floor], measured[held]
	b.report.add(row{
		Part: "sync", What: fmt.Sprintf("revert of a drifted field, %d objects held", b.objects), Result: mine.String(), Peer: "floor " + base.String(),
		Ratio:  fmt.Sprintf("p50 %.2f ×, p99 %.2f ×", ratio(mine.p50(), base.p50()), ratio(mine.p99(), base.p99())),
		Budget: "p50 ≤ 3 ×, p99 ≤ 5 ×",
		Met:    new(ratio(mine.p50(), base.p50()) <= 3 && ratio(mine.p99(), base.p99()) <= 5),
	})
	runtime.GC()
	s.stop()
	return b.memory(s)
}

// drifted makes one foreign write and awaits its end.
func drifted(ctx context.Context, plain rest.Interface, namespace, name string, i int, restored <-chan event, failed <-chan error) (time.Duration, error) {
	for len(restored) > 0 {
		<-restored
	}
	body := fmt.Appendf(nil, `{"data":{"key":"foreign-%d"}}`, i)
	err := plain.Patch(types.MergePatchType).AbsPath("/api/v1/namespaces/"+namespace+"/configmaps/"+name).
		Param("fieldManager", "kubectl-edit").Body(body).Do(ctx).Error()
	answered := time.Now()
	if err != nil {
		return 0, err
	}
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case e := <-restored:
			if e.name == name {
				return max(e.when.Sub(answered), 0), nil
			}
		case err := <-failed:
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-timeout.C:
			return 0, errors.New("the value did not come back")
		}
	}
}

// memory starts the whole process as a replica that holds what the loop has
// applied, and looks at its size.
func (b *bench) memory(s *stage) error {
	if _, err := b.certificate(); err != nil {
		return err
	}
	if err := b.cluster.WriteKubeconfig(filepath.Join(b.dir, "kubeconfig")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "namespace"), []byte(s.namespace), 0o600); err != nil {
		return err
	}
	b.say("starting a replica")
	p, err := b.start(roleReplica)
	if err != nil {
		return err
	}
	var peak, settled int64
	for deadline := time.Now().Add(replicaSettles); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if settled, peak, err = resident(p.pid); err != nil {
			return err
		}
	}
	b.report.add(row{
		Part: "sync", What: fmt.Sprintf("memory of a replica that leads, %d objects held", b.objects),
		Result: fmt.Sprintf("%d MB resident, %d MB at most", settled>>20, peak>>20),
		Budget: "≤ 150 MB", Met: new(settled <= 150<<20),
	})
	return nil
}

// resident memory of a process now and at most, in bytes; Linux alone tells.
func resident(pid int) (now, peak int64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		kilobytes, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		switch name {
		case "VmRSS":
			now = kilobytes << 10
		case "VmHWM":
			peak = kilobytes << 10
		}
	}
	return now, peak, nil
}

// replicaSettles is the time after which a replica's memory is looked at.
const replicaSettles = 20 * time.Second

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
	var addresses [2]string
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
	failed := make(chan error, 1)
	go func() {
		failed <- app.Run(ctx, app.Options{Config: c, REST: restConfig, Version: "bench", Ledger: io.Discard, Log: io.Discard})
	}()
	for {
		response, err := http.Get("http://" + addresses[1] + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				fmt.Fprintln(out, "https://"+addresses[0])
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
