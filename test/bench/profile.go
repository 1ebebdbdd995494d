// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// items are what time goes into, by a function that is on the stack then. The
// innermost function that is named here counts.
var items = []struct{ function, what string }{
	{"runtime.gcBgMarkWorker", "collecting garbage"},
	{"runtime.gcAssistAlloc", "collecting garbage"},
	{"runtime.bgsweep", "collecting garbage"},
	{"runtime.newstack", "growing stacks"},
	{"runtime.mcall", "handing over between goroutines"},
	{"runtime.schedule", "handing over between goroutines"},
	{"runtime.goready", "handing over between goroutines"},
	{"runtime.mstart", "handing over between goroutines"},
	{"fastjson.(*Parser).Parse", "parsing JSON"},
	{"fieldset.Compare", "comparing the objects"},
	{"webhook.wiped", "comparing managedFields"},
	{"webhook.readBody", "reading the body"},
	{"webhook.decode", "reading the envelope"},
	{"webhook.hint", "finding the field managers"},
	{"policy.Fields", "comparing with git"},
	{"policy.(*Engine).earlyInput", "building input"},
	{"policy.(*Engine).lateInput", "building input"},
	{"policy.(*snapshot).narrow", "choosing the rules that can match"},
	{"rego.PreparedEvalQuery.Eval", "evaluating Rego"},
	{"policy.(*Engine).Decide", "the rest of judging"},
	{"audit.(*Recorder).Record", "ledger and metrics of decisions"},
	{"webhook.(*Handler).answer", "wording the refusal"},
	{"webhook.answer.write", "writing the response"},
	{"webhook.(*Handler).ServeHTTP", "the rest of the handler"},
}

const profiledTime = 5 * time.Second

// profiles prints what takes longest in the two decisions that the budgets
// speak of.
func (b *bench) profiles() error {
	handler, err := newHandler(b.ctx, policies(20, true))
	if err != nil {
		return err
	}
	_, quiet, refused := reviews()
	for _, m := range []struct {
		what string
		body []byte
	}{{"nothing held changes", quiet}, {"refused, 20 policies, half read the object", refused}} {
		shares, err := b.shares(handler, m.body)
		if err != nil {
			return err
		}
		largest := slices.SortedFunc(maps.Keys(shares), func(x, y string) int {
			return cmp.Or(cmp.Compare(shares[y], shares[x]), strings.Compare(x, y))
		})
		for i, item := range largest[:min(5, len(largest))] {
			b.report.add(row{
				Part: "profile", What: fmt.Sprintf("profile, %s, %d", m.what, i+1),
				Result: fmt.Sprintf("%s %.0f %%", item, 100*shares[item]),
			})
		}
	}
	return nil
}

// shares profiles one kind of decision and tells the share of each item.
func (b *bench) shares(handler http.Handler, body []byte) (map[string]float64, error) {
	one := asker(handler, body)
	for range 1000 {
		one()
	}
	name := filepath.Join(b.dir, "decision.cpu")
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, err
	}
	for end := time.Now().Add(profiledTime); time.Now().Before(end); {
		one()
	}
	pprof.StopCPUProfile()
	out, err := exec.CommandContext(b.ctx, "go", "tool", "pprof", "-traces", "-unit=us", name).Output()
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	return sharesOf(out), nil
}

// sharesOf reads stacks as pprof prints them: a line of dashes, the value with
// the innermost function, and the others below.
func sharesOf(traces []byte) map[string]float64 {
	shares, total := map[string]float64{}, 0.0
	value, found := 0.0, ""
	flush := func() {
		shares[cmp.Or(found, "elsewhere in the runtime")] += value
		total += value
		value, found = 0, ""
	}
	lines := bufio.NewScanner(bytes.NewReader(traces))
	begun := false
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "-----") {
			flush()
			begun = true
			continue
		}
		if !begun {
			continue
		}
		var v float64
		if n, _ := fmt.Sscanf(line, "%fus ", &v); n == 1 {
			value = v
		}
		for _, item := range items {
			if found == "" && strings.Contains(line, item.function) {
				found = item.what
			}
		}
	}
	flush()
	for item := range shares {
		if shares[item] == 0 {
			delete(shares, item)
			continue
		}
		shares[item] /= max(total, 1)
	}
	return shares
}
