// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// dependsOnAnnotations are ours and the one that kpt and Config Sync read. Both
// have the same form.
var dependsOnAnnotations = []string{v1alpha1.DependsOnAnnotation, "config.kubernetes.io/depends-on"}

// dependencies are the objects that have to be healthy before another is
// written.
type dependencies map[ownership.ID][]ownership.ID

// dependenciesOf reads what the entries say they depend on. What can't be meant
// is an error with file and line: an object that is not declared, and a cycle.
func dependenciesOf(entries map[ownership.ID]*ownership.Entry, leaving []ownership.ID) (dependencies, []error) {
	d := dependencies{}
	var problems []error
	for id, e := range entries {
		content := newest(e)
		if slices.Contains(leaving, id) || !bytes.Contains(content.Desired, []byte("/depends-on")) {
			continue
		}
		names, err := named(content.Desired)
		for _, on := range names {
			if err == nil {
				err = possible(id, on, entries, leaving)
			}
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s:%d: %s: %w", content.File, content.Line, id, err))
			continue
		}
		if len(names) > 0 {
			d[id] = names
		}
	}
	if len(problems) == 0 {
		if cycle := d.cycle(); cycle != nil {
			problems = append(problems, cycleError(cycle, entries))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return d, problems
}

// newest is the content of an entry that is to be there next.
func newest(e *ownership.Entry) *ownership.Content {
	if e.Attempted != nil {
		return e.Attempted
	}
	return e.Applied
}

// named are the objects that the annotations of an object name.
func named(object []byte) ([]ownership.ID, error) {
	var ids []ownership.ID
	for _, annotation := range dependsOnAnnotations {
		for name := range strings.SplitSeq(fastjson.GetString(object, "metadata", "annotations", annotation), ",") {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			id, ok := reference(name)
			if !ok {
				return nil, fmt.Errorf(
					"annotation %s: %q names no object: write group/namespaces/namespace/kind/name or group/kind/name, for example apps/namespaces/shop/Deployment/web or /namespaces/shop/ConfigMap/settings", annotation, name)
			}
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

// reference reads <group>/namespaces/<namespace>/<kind>/<name> or
// <group>/<kind>/<name>; the core group is empty.
func reference(text string) (ownership.ID, bool) {
	parts := strings.Split(text, "/")
	var id ownership.ID
	switch {
	case len(parts) == 3:
		id = ownership.ID{Group: parts[0], Kind: parts[1], Name: parts[2]}
	case len(parts) == 5 && parts[1] == "namespaces" && parts[2] != "":
		id = ownership.ID{Group: parts[0], Namespace: parts[2], Kind: parts[3], Name: parts[4]}
	}
	return id, id.Kind != "" && id.Name != ""
}

// possible tells why an object can't wait for another.
func possible(id, on ownership.ID, entries map[ownership.ID]*ownership.Entry, leaving []ownership.ID) error {
	switch {
	case id == on:
		return errors.New("depends on itself")
	case entries[on] == nil || slices.Contains(leaving, on):
		return fmt.Errorf("depends on %s, which is not declared here: correct the name, or put the GitSync that declares it into spec.dependsOn", on)
	case stageOf(on) > stageOf(id):
		return fmt.Errorf("depends on %s, but namespaces and CustomResourceDefinitions are written first", on)
	}
	return nil
}

// cycle returns objects that depend on each other, the first one twice; nil
// where there are none.
func (d dependencies) cycle() []ownership.ID {
	const walking, done = 1, 2
	state := map[ownership.ID]int{}
	var path []ownership.ID
	var walk func(id ownership.ID) []ownership.ID
	walk = func(id ownership.ID) []ownership.ID {
		switch state[id] {
		case done:
			return nil
		case walking:
			return append(slices.Clone(path[slices.Index(path, id):]), id)
		}
		state[id] = walking
		path = append(path, id)
		for _, on := range d[id] {
			if cycle := walk(on); cycle != nil {
				return cycle
			}
		}
		path = path[:len(path)-1]
		state[id] = done
		return nil
	}
	for _, id := range sorted(d) {
		if cycle := walk(id); cycle != nil {
			return cycle
		}
	}
	return nil
}

func sorted[V any](m map[ownership.ID]V) []ownership.ID {
	ids := make([]ownership.ID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y ownership.ID) int { return strings.Compare(x.String(), y.String()) })
	return ids
}

func cycleError(cycle []ownership.ID, entries map[ownership.ID]*ownership.Entry) error {
	steps := make([]string, len(cycle))
	for i, id := range cycle {
		content := newest(entries[id])
		steps[i] = fmt.Sprintf("%s (%s:%d)", id, content.File, content.Line)
	}
	content := newest(entries[cycle[0]])
	return fmt.Errorf("%s:%d: objects depend on each other: %s: take one of the annotations away",
		content.File, content.Line, strings.Join(steps, " → "))
}

// waiting is what keeps a commit from being brought in although nothing is
// wrong.
type waiting struct {
	err error
	// on are the objects that are waited for; none where it is for another
	// GitSync.
	on []ownership.ID
	// chained tells that what is waited for waits itself.
	chained bool
}

func (w *waiting) Error() string { return w.err.Error() }

// applyInOrder writes the changed objects of a stage, each after what it
// depends on is healthy. It does not wait for that: a newer commit may be what
// makes it so.
func (l *Loop) applyInOrder(ctx context.Context, a *attempt, s stage) error {
	if len(a.depends) == 0 {
		return l.apply(ctx, a, s)
	}
	defer func() { a.only = nil }()
	for {
		a.only = nil
		only, blocked := map[ownership.ID]bool{}, (*waiting)(nil)
		for _, id := range a.changed(s) {
			w := l.blocked(a, id)
			switch {
			case w == nil:
				only[id] = true
			case blocked == nil || blocked.chained && !w.chained:
				blocked = w // the first of those that start a chain is told of
			case !w.chained:
				blocked.on = append(blocked.on, w.on...)
			}
		}
		if len(only) == 0 {
			if blocked != nil {
				return blocked
			}
			return nil
		}
		a.only = only
		if err := l.apply(ctx, a, s); err != nil {
			return err
		}
	}
}

// blocked tells what an object has to wait for; nil where that is nothing.
func (l *Loop) blocked(a *attempt, id ownership.ID) *waiting {
	var w *waiting
	for _, on := range a.depends[id] {
		e := a.entries[on]
		words, chained := "", a.planned[on] != nil
		if chained {
			words = "not written yet"
		} else if h := l.health.Of(on); !h.Done() && !ignoresHealth(e) {
			if words = h.Message; words == "" {
				words = "on its way"
			}
		}
		if words == "" {
			continue
		}
		if w == nil {
			content := newest(a.entries[id])
			w = &waiting{chained: chained, err: fmt.Errorf("%s:%d: %s waits for %s, on which it depends: %s", content.File, content.Line, id, on, words)}
		}
		w.on = append(w.on, on)
	}
	return w
}

// waits notes what a commit waits for.
func (p *pass) waits(err error) {
	p.waitsFor = nil
	w, ok := errors.AsType[*waiting](err)
	if !ok {
		p.waitingSince = time.Time{}
		return
	}
	p.waitsFor = w.on
	if p.waitingSince.IsZero() {
		p.waitingSince = time.Now()
	}
}

// overdue is the failure that tells of the waiting, and of the time it takes
// where that is too long.
func (w *waiting) overdue(p *pass, timeout time.Duration) error {
	if time.Since(p.waitingSince) < timeout {
		return &failure{dependencyNotReady, w.err}
	}
	return &failure{dependencyNotReady, fmt.Errorf("%w; not ready after %s (spec.timeout), and still waited for", w.err, timeout)}
}
