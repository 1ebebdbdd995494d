// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
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
	open := func() (io.ReadCloser, error) {
		return plain.Get().AbsPath(path).Param("watch", "true").Param("resourceVersion", version).Stream(ctx)
	}
	body, err := open()
	if err != nil {
		return err
	}
	go func() {
		for err == nil {
			decoder := json.NewDecoder(body)
			for {
				var line struct {
					Object struct {
						Metadata struct{ Name, ResourceVersion string }
						Data     struct{ Key string }
					}
				}
				if decoder.Decode(&line) != nil {
					break
				}
				version = line.Object.Metadata.ResourceVersion
				seen(event{line.Object.Metadata.Name, line.Object.Data.Key, time.Now()})
			}
			_ = body.Close()
			body, err = open() // The API server closes watches that are slow, too.
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
	if err := s.commit(b.objects, configMap); err != nil {
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
	if err := b.burst(ctx, plain, restored[held], failed); err != nil {
		return err
	}
	runtime.GC()
	s.stop()
	return b.push(s)
}

// burst edits many held objects at once, and measures the time until all of
// them say again what git says.
func (b *bench) burst(ctx context.Context, plain rest.Interface, restored <-chan event, failed <-chan error) error {
	const edits, namespace = 500, "held-objects"
	b.say("measuring a burst of %d edits", edits)
	for len(restored) > 0 {
		<-restored
	}
	// Others than those that were edited one by one.
	first := b.objects - edits
	start := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range edits {
		group.Go(func() error {
			body := fmt.Appendf(nil, `{"data":{"key":"burst-%d"}}`, i)
			return plain.Patch(types.MergePatchType).AbsPath(fmt.Sprintf("/api/v1/namespaces/%s/configmaps/settings-%05d", namespace, first+i)).
				Param("fieldManager", "kubectl-edit").Body(body).Do(groupCtx).Error()
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("edit: %w", err)
	}
	edited := time.Since(start)
	back := map[string]bool{}
	timeout := time.NewTimer(time.Minute)
	defer timeout.Stop()
	for len(back) < edits {
		select {
		case e := <-restored:
			back[e.name] = true
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return fmt.Errorf("%d of %d values did not come back", edits-len(back), edits)
		}
	}
	whole := time.Since(start)
	rate := func(d time.Duration) float64 { return edits / d.Seconds() }
	b.report.add(row{
		Part: "sync", What: fmt.Sprintf("%d edits in a burst, from the first edit to the last value back", edits),
		Result: fmt.Sprintf("%.0f reverts/s", rate(whole)), Peer: fmt.Sprintf("the edits alone %.0f/s", rate(edited)),
		Ratio: fmt.Sprintf("%.2f ×", rate(whole)/rate(edited)), Budget: "≥ 0.5 ×", Met: new(rate(whole) >= 0.5*rate(edited)),
	})
	return nil
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
