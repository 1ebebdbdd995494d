// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package drift_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/drift"
)

// baseline is what the API server made of a manifest; paused, hosts and pull
// are not declared.
const baseline = `{
	"metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "finalizers": ["git.example/hold"]},
	"spec": {
		"replicas": 2, "paused": false, "cpu": "1", "args": ["-a", "-b"], "hosts": ["a"],
		"containers": [{"name": "web", "image": "nginx:1.27", "pull": "Always"}, {"name": "log", "image": "log:1"}]
	}
}`

const declared = `{
	"f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {".": {}, "v:\"git.example/hold\"": {}}},
	"f:spec": {
		"f:replicas": {}, "f:cpu": {}, "f:args": {},
		"f:containers": {
			"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}},
			"k:{\"name\":\"log\"}": {".": {}, "f:name": {}, "f:image": {}}
		}
	}
}`

func record(t *testing.T, baseline string) *ownership.Record {
	t.Helper()
	set, err := fieldset.ParseSet([]byte(declared))
	if err != nil {
		t.Fatal(err)
	}
	return &ownership.Record{
		Sync: &ownership.Sync{Name: "shop"},
		Entry: &ownership.Entry{
			ID:      ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
			Applied: &ownership.Content{Baseline: []byte(baseline), Fields: []byte(declared)},
		},
		AppliedSet: set,
	}
}

// live is the baseline after some replacements of its text, old and new in
// turn, with what others claim to have written.
func live(t *testing.T, managers string, replacements ...string) *fastjson.Value {
	t.Helper()
	text := baseline
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("the baseline has no %s", replacements[i])
		}
		text = strings.Replace(text, replacements[i], replacements[i+1], 1)
	}
	v, err := fastjson.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	mine := fmt.Sprintf(`{"manager": "mainstay", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": %s}`, declared)
	if managers != "" {
		mine += "," + managers
	}
	list, err := fastjson.Parse("[" + mine + "]")
	if err != nil {
		t.Fatal(err)
	}
	v.Get("metadata").Set("managedFields", list)
	return v
}

func manager(name, fields string) string {
	return fmt.Sprintf(`{"manager": %q, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": %s}`, name, fields)
}

func TestBetween(t *testing.T) {
	const (
		byName = `"containers": [{"name": "web", "image": "nginx:1.27", "pull": "Always"}, {"name": "log", "image": "log:1"}]`
		hold   = `["git.example/hold"]`
	)
	for name, tt := range map[string]struct {
		managers     string
		replacements []string
		want         []string
	}{
		"nothing changed": {},
		"a declared field, with its writer": {
			manager("kubectl-edit", `{"f:spec": {"f:replicas": {}}}`),
			[]string{`"replicas": 2`, `"replicas": 5`},
			[]string{"replace spec.replicas declared by kubectl-edit"},
		},
		"a declared field counts even if nobody claims to have written it": {
			"",
			[]string{`"replicas": 2`, `"replicas": 5`},
			[]string{"replace spec.replicas declared by "},
		},
		"a declared field that is gone": {
			"",
			[]string{`"replicas": 2, `, ``},
			[]string{"remove spec.replicas declared by "},
		},
		"an undeclared field that somebody wrote": {
			manager("kubectl-patch", `{"f:spec": {"f:paused": {}}}`),
			[]string{`"paused": false`, `"paused": true`},
			[]string{"replace spec.paused undeclared by kubectl-patch"},
		},
		"an undeclared field that nobody wrote is the API server's": {
			"",
			[]string{`"paused": false`, `"paused": true`, `"cpu": "1"`, `"cpu": "1", "defaulted": "x"`},
			nil,
		},
		"an undeclared field that somebody added": {
			manager("controller", `{"f:metadata": {"f:annotations": {"f:note": {}}}}`),
			[]string{`"name": "web", "namespace"`, `"annotations": {"note": "x"}, "name": "web", "namespace"`},
			[]string{"add metadata.annotations.note undeclared by controller"},
		},
		"our own Apply entry is nobody else's write": {
			manager("mainstay", `{"f:spec": {"f:paused": {}}}`), // an Update under our name is
			[]string{`"paused": false`, `"paused": true`},
			[]string{"replace spec.paused undeclared by mainstay"},
		},
		"the value that the API server stored is no difference": {
			manager("ci", `{"f:spec": {"f:cpu": {}}}`), nil, nil,
		},
		"status and bookkeeping are never drift": {
			manager("controller", `{"f:status": {"f:ready": {}}}`),
			[]string{`"spec":`, `"status": {"ready": 1}, "spec":`, `"name": "web", "namespace"`, `"generation": 7, "resourceVersion": "9", "uid": "u", "name": "web", "namespace"`},
			nil,
		},
		"an element of a keyed list that somebody added": {
			manager("kubectl-edit", `{"f:spec": {"f:containers": {"k:{\"name\":\"evil\"}": {".": {}, "f:name": {}, "f:image": {}}}}}`),
			[]string{byName, strings.Replace(byName, "]", `, {"name": "evil", "image": "evil:1"}]`, 1)},
			[]string{"add spec.containers[name=evil] undeclared by kubectl-edit"},
		},
		"a declared element of a keyed list that is gone": {
			"",
			[]string{`, {"name": "log", "image": "log:1"}`, ``},
			[]string{"remove spec.containers[name=log] declared by "},
		},
		"a field of a keyed element": {
			manager("kubectl-set", `{"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {"f:image": {}}}}}`),
			[]string{"nginx:1.27", "nginx:1.28"},
			[]string{"replace spec.containers[name=web].image declared by kubectl-set"},
		},
		"an atomic list differs as a whole": {
			manager("kubectl-edit", `{"f:spec": {"f:args": {}}}`),
			[]string{`["-a", "-b"]`, `["-a", "-b", "-c"]`},
			[]string{"replace spec.args declared by kubectl-edit"},
		},
		"the order of an atomic list": {
			"",
			[]string{`["-a", "-b"]`, `["-b", "-a"]`},
			[]string{"replace spec.args declared by "},
		},
		"an element of a set that somebody added: finalizers always count as declared": {
			manager("operator", `{"f:metadata": {"f:finalizers": {"v:\"operator/x\"": {}}}}`),
			[]string{hold, `["git.example/hold", "operator/x"]`},
			[]string{`add metadata.finalizers[="operator/x"] declared by operator`},
		},
		"a declared element of a set that is gone": {
			"",
			[]string{hold, `[]`},
			[]string{`remove metadata.finalizers[="git.example/hold"] declared by `},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fields, err := drift.Between(live(t, tt.managers, tt.replacements...), record(t, baseline))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range fields {
				word := "undeclared"
				if f.Declared {
					word = "declared"
				}
				got = append(got, fmt.Sprintf("%s %s %s by %s", f.Op, f.Path, word, f.Manager))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBetweenSaysWhatGitHasThere(t *testing.T) {
	fields, err := drift.Between(live(t, manager("a", `{"f:spec": {"f:extra": {}}}`),
		`"replicas": 2`, `"replicas": 5, "extra": 1`), record(t, baseline))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range fields {
		git := "nothing"
		if f.Git != nil {
			git = f.Git.String()
		}
		got[f.Path.String()] = git + " → " + f.To.String()
	}
	want := map[string]string{"spec.replicas": "2 → 5", "spec.extra": "nothing → 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatAnAttemptedCommitSaysIsNoDrift(t *testing.T) {
	r := record(t, baseline)
	r.Attempted = &ownership.Content{Baseline: []byte(strings.Replace(baseline, `"replicas": 2`, `"replicas": 5`, 1))}
	fields, err := drift.Between(live(t, "", `"replicas": 2`, `"replicas": 5`), r)
	if err != nil || len(fields) > 0 {
		t.Errorf("got %v, %v, want no difference", fields, err)
	}
}

func TestWhatCannotBeReadIsAnErrorAndNeverNoDrift(t *testing.T) {
	never := record(t, baseline)
	never.Applied = nil
	for name, tt := range map[string]struct {
		live   *fastjson.Value
		record *ownership.Record
	}{
		"the baseline":       {live(t, ""), record(t, `{"spec":`)},
		"a missing baseline": {live(t, ""), record(t, ``)},
		"no applied content": {live(t, ""), never},
		"a field set that tells how to compare a list": {
			live(t, manager("a", `{"f:spec": "x"}`), `["a"]`, `["a", "b"]`), record(t, baseline),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if fields, err := drift.Between(tt.live, tt.record); err == nil {
				t.Errorf("got %v, want an error", fields)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	for name, tt := range map[string]struct {
		verdict   policy.Verdict
		mode      v1alpha1.Mode
		operation policy.Operation
		want      drift.Action
	}{
		"what is permitted stands":                            {policy.Permit, v1alpha1.ModeEnforce, policy.Update, drift.LetStand},
		"a permitted deletion stands":                         {policy.Permit, v1alpha1.ModeEnforce, policy.Delete, drift.LetStand},
		"what is refused is reverted":                         {policy.Refuse, v1alpha1.ModeEnforce, policy.Update, drift.Revert},
		"a refused deletion is undone":                        {policy.Refuse, v1alpha1.ModeEnforce, policy.Delete, drift.Recreate},
		"Audit records":                                       {policy.Refuse, v1alpha1.ModeAudit, policy.Update, drift.Record},
		"Audit records a deletion":                            {policy.Refuse, v1alpha1.ModeAudit, policy.Delete, drift.Record},
		"Warn records":                                        {policy.Refuse, v1alpha1.ModeWarn, policy.Update, drift.Record},
		"what is permitted stands under Audit too":            {policy.Permit, v1alpha1.ModeAudit, policy.Update, drift.LetStand},
		"a mode that is not known undoes nothing":             {policy.Refuse, "Later", policy.Update, drift.Record},
		"no verdict, as of a judge that failed, is no permit": {"", v1alpha1.ModeEnforce, policy.Update, drift.Revert},
	} {
		t.Run(name, func(t *testing.T) {
			r := record(t, baseline)
			r.Sync.Mode = tt.mode
			got := drift.Plan(&policy.Change{Operation: tt.operation, Record: r}, policy.Decision{Verdict: tt.verdict})
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestGesturesOnAGitSyncAreNoDrift(t *testing.T) {
	id := ownership.ID{Group: "mainstay.dev", Kind: "GitSync", Namespace: "mainstay-system", Name: "apps"}
	index := ownership.NewIndex()
	content := &ownership.Content{
		Baseline: []byte(`{"metadata":{"name":"apps"},"spec":{"contact":"#a"}}`), Fields: []byte(`{"f:spec":{"f:contact":{}}}`),
	}
	if err := index.Replace(&ownership.Sync{Namespace: "mainstay-system", Name: "root"}, []*ownership.Entry{
		{ID: id, Version: "v1alpha1", Resource: "gitsyncs", Applied: content},
	}); err != nil {
		t.Fatal(err)
	}
	record, ok := index.Lookup(id)
	if !ok {
		t.Fatal("no record")
	}
	fields, err := drift.Between(fastjson.MustParse(`{"metadata":{"name":"apps","annotations":{"mainstay.dev/suspend":"1h why","mainstay.dev/requested-at":"now"},`+
		`"managedFields":[{"manager":"kubectl-annotate","operation":"Update","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:mainstay.dev/suspend":{},"f:mainstay.dev/requested-at":{}}}}}]},`+
		`"spec":{"contact":"#b"}}`), record)
	if err != nil {
		t.Fatal(err)
	}
	if len(fields) != 1 || fields[0].Path.String() != "spec.contact" {
		t.Errorf("fields %+v, want spec.contact alone", fields)
	}
}
