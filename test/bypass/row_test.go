// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// outcome is what comes of a try.
type outcome string

const (
	// refused: the API server answers with Mainstay's refusal, and the object
	// is what it was.
	refused outcome = "refused"
	// bounded: it works, within limits that git or a policy sets.
	bounded outcome = "bounded"
	// ignored: it is accepted, and nothing that is held changes.
	ignored outcome = "ignored"
	// repaired: no webhook can see it; it is found and undone.
	repaired outcome = "detected and repaired"
	// detected: it works, and the status and an Event say so.
	detected outcome = "detected"
	// free: it works. Mainstay does not promise otherwise, and says so.
	free outcome = "permitted, and said so"
	// elsewhere: another test tries it; the row names it.
	elsewhere outcome = "tried elsewhere"
	// none: there is nothing to try; the row says why.
	none outcome = "not applicable"
)

// row is one way around.
type row struct {
	// id is the table's name of the threat, unique.
	id     string
	threat string
	how    string
	want   outcome
	// because says what is not obvious about the outcome.
	because string
	// objects are declared beside the namespace and the Deployment web; NS
	// stands for the namespace. Bare: they are declared alone.
	objects string
	bare    bool
	// outside is there before, and git does not declare it.
	outside string
	// alone rows disturb what others rely on, and run one after the other.
	alone bool
	// within is how long a repair may take.
	within time.Duration
	try    func(a *attempt)
}

// namespace is the row's own.
func (r *row) namespace() string {
	return "bypass-" + strings.Trim(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(r.id)), "-")
}

// rows are all of them, in the order of the table.
func rows() []*row {
	var all []*row
	for _, part := range [][]*row{
		threats(), practices(), writes(), deletions(), subresources(), kinds(), identities(), records(), policies(), beyond(),
	} {
		all = append(all, part...)
	}
	return all
}

const manifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "nginx:1.27"}
`

// files are what git declares for the row.
func (r *row) files() map[string]string {
	files := map[string]string{}
	if r.try == nil {
		return files
	}
	ns := r.namespace()
	if !r.bare {
		files[ns+"/namespace.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}\n"
		files[ns+"/web.yaml"] = in(ns, manifest)
	}
	if r.objects != "" {
		files[ns+"/objects.yaml"] = in(ns, r.objects)
	}
	return files
}

// prepare makes what is there before git declares anything.
func (r *row) prepare(t *testing.T) {
	t.Helper()
	if r.bare && r.try != nil {
		_, err := shared.Kubectl(t, "admin", "", "create", "namespace", r.namespace())
		world.Must(t, err)
	}
	if r.outside == "" {
		return
	}
	out, err := shared.Kubectl(t, "admin", in(r.namespace(), r.outside), "create", "-f", "-")
	if err != nil {
		t.Fatal(out)
	}
}

// in puts a namespace into a text.
func in(namespace, text string) string { return strings.ReplaceAll(text, "NS", namespace) }

// result is what a run has found.
type result struct {
	done  bool
	tries int
	took  time.Duration
}

func TestEveryWayAroundIsTried(t *testing.T) {
	all := rows()
	files := map[string]string{}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.id] || (r.try == nil) != (r.want == none || r.want == elsewhere) || r.try == nil && r.because == "" {
			t.Fatalf("the row %q is there twice, or lacks something", r.id)
		}
		seen[r.id] = true
		maps.Copy(files, r.files())
		r.prepare(t)
	}
	shared.Pushed(t, files)

	results := map[string]*result{}
	run := func(r *row) func(*testing.T) {
		found := &result{}
		results[r.id] = found
		return func(t *testing.T) {
			if !r.alone {
				t.Parallel()
			}
			a := &attempt{T: t, row: r, namespace: r.namespace(), result: found}
			a.begin()
			r.try(a)
			a.end()
			found.done = true
		}
	}
	for _, alone := range []bool{false, true} {
		t.Run(map[bool]string{false: "together", true: "alone"}[alone], func(t *testing.T) {
			for _, r := range all {
				if r.try != nil && r.alone == alone {
					t.Run(r.id, run(r))
				}
			}
		})
	}
	for id, found := range results {
		if !found.done {
			t.Logf("the table is not looked at: %s was not tried", id)
			return
		}
	}
	compare(t, render(all, results))
}

const (
	readme = "README.md"
	begin  = "<!-- what the last run found; go test ./test/bypass -update writes it -->\n"
	end    = "<!-- end -->\n"
)

// render writes the table.
func render(all []*row, results map[string]*result) string {
	var b strings.Builder
	b.WriteString("| row | threat | tried | outcome | took |\n|---|---|---|---|---|\n")
	for _, r := range all {
		what := "**" + string(r.want) + "**"
		took := ""
		if found := results[r.id]; found != nil {
			if found.tries > 1 {
				what += fmt.Sprintf(", %d tries", found.tries)
			}
			if found.took > 0 {
				took = fmt.Sprintf("%.1f s", found.took.Seconds())
			}
		}
		if r.within > 0 {
			what += ", at most " + r.within.String()
		}
		if r.because != "" {
			what += ": " + r.because
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.id, r.threat, r.how, what, took)
	}
	return b.String()
}

// compare holds the table against the committed one, or writes it.
func compare(t *testing.T, table string) {
	t.Helper()
	t.Log("\n" + table)
	raw, err := os.ReadFile(readme)
	world.Must(t, err)
	head, rest, found := strings.Cut(string(raw), begin)
	old, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table", readme)
	}
	if *update {
		world.Must(t, os.WriteFile(readme, []byte(head+begin+table+end+tail), 0o600))
		return
	}
	if diff := cmp.Diff(timeless(old), timeless(table)); diff != "" {
		t.Errorf("%s shows another table (-shown +found); go test ./test/bypass -update writes it:\n%s", readme, diff)
	}
}

// timeless is a table without its last column.
func timeless(table string) []string {
	var lines []string
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		lines = append(lines, strings.Join(cells[:len(cells)-1], " | "))
	}
	return lines
}
