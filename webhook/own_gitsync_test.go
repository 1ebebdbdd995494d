// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func gitSync(name string, edits ...func(map[string]any)) map[string]any {
	return object(name, append([]func(map[string]any){
		set("u-sync", "metadata", "uid"), set("Enforce", "spec", "enforcement", "mode"), set("RejectPeople", "spec", "enforcement", "undeclared"),
	}, edits...)...)
}

func onGitSync(operation, namespace string, old, updated map[string]any) asked {
	return own(operation, "mainstay.dev", "GitSync", "gitsyncs", namespace, old, updated)
}

func TestHandlerChecksWhatAGitSyncSays(t *testing.T) {
	account := set("git", "spec", "serviceAccountName")
	exceptions := func(reason string) func(map[string]any) {
		return set([]any{map[string]any{"paths": []any{"spec.replicas"}, "reason": reason}}, "spec", "policies", "exceptions")
	}
	deleting := set("2026-11-23T11:00:00Z", "metadata", "deletionTimestamp")
	for name, test := range map[string]struct {
		asked   asked
		allowed bool
		message string
		warning string
	}{
		"a tenant's without an account":             {onGitSync("CREATE", "shop", nil, gitSync("s")), false, "spec.serviceAccountName is required outside of mainstay-system", ""},
		"a tenant takes the account out":            {onGitSync("UPDATE", "shop", gitSync("s", account), gitSync("s")), false, "spec.serviceAccountName is required", ""},
		"a tenant's with an account":                {onGitSync("CREATE", "shop", nil, gitSync("s", account)), true, "", ""},
		"a tenant's with an account that is absent": {onGitSync("CREATE", "shop", nil, gitSync("s", set("no", "spec", "serviceAccountName"))), true, "", "there is no ServiceAccount no in shop"},
		"one in Mainstay's namespace needs none":    {onGitSync("CREATE", ownSpace, nil, gitSync("s")), true, "", ""},
		"an absent account in Mainstay's namespace": {onGitSync("CREATE", ownSpace, nil, gitSync("s", set("no", "spec", "serviceAccountName"))), true, "", "there is no ServiceAccount no in mainstay-system"},
		"a label on an old one without an account":  {onGitSync("UPDATE", "shop", gitSync("s"), gitSync("s", set("x", "metadata", "labels", "y"))), true, "", ""},
		"an old one without an account goes":        {onGitSync("UPDATE", "shop", gitSync("s", deleting), gitSync("s", deleting, set("x", "spec", "contact"))), true, "", ""},
		"it is deleted":                             {onGitSync("DELETE", "shop", gitSync("s"), nil), true, "", ""},
		"exceptions that do not compile":            {onGitSync("CREATE", ownSpace, nil, gitSync("s", exceptions("bad"))), false, "spec.policies.exceptions: the policies do not load\n  x.rego:3:5: bad", ""},
		"exceptions that do":                        {onGitSync("CREATE", ownSpace, nil, gitSync("s", exceptions("good"))), true, "", ""},
		"exceptions that nobody changed":            {onGitSync("UPDATE", ownSpace, gitSync("s", exceptions("bad")), gitSync("s", exceptions("bad"), set("x", "metadata", "labels", "y"))), true, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) {
				o.AccountExists = func(_ context.Context, _, name string) bool { return name == "git" }
				o.CheckPolicies = func(_ context.Context, s policy.Source) error {
					if len(s.Exceptions) == 1 && s.Exceptions[0].Reason == "bad" && s.Sync != nil {
						return &policy.LoadError{Items: []policy.Problem{{File: "x.rego", Row: 3, Col: 5, Message: "bad"}}}
					}
					return nil
				}
			})
			got := f.send(t, test.asked)
			if got.Allowed != test.allowed {
				t.Fatalf("allowed = %v, want %v: %+v", got.Allowed, test.allowed, got.Result)
			}
			if !test.allowed && !strings.Contains(got.Result.Message, test.message) {
				t.Errorf("refused with %q, want %q", got.Result.Message, test.message)
			}
			if warnings := strings.Join(got.Warnings, "\n"); !strings.Contains(warnings, test.warning) || (test.warning == "") != (warnings == "") {
				t.Errorf("warnings %q, want %q", warnings, test.warning)
			}
		})
	}
}

func TestHandlerRecordsThatAGitSyncEnforcesLess(t *testing.T) {
	exception := func(reasons ...string) func(map[string]any) {
		var list []any
		for _, reason := range reasons {
			list = append(list, map[string]any{"paths": []any{"spec.replicas"}, "reason": reason})
		}
		return set(list, "spec", "policies", "exceptions")
	}
	mode := func(m string) func(map[string]any) { return set(m, "spec", "enforcement", "mode") }
	undeclared := func(u string) func(map[string]any) { return set(u, "spec", "enforcement", "undeclared") }
	for name, test := range map[string]struct {
		name     string
		old, new func(map[string]any)
		reason   string // empty: nothing is recorded
	}{
		"the mode is less strict":                   {"shop", mode("Enforce"), mode("Audit"), "spec.enforcement.mode becomes less strict"},
		"the mode only observes":                    {"shop", mode("Audit"), mode("Observe"), "spec.enforcement.mode becomes less strict"},
		"the mode is stricter":                      {"shop", mode("Warn"), mode("Enforce"), ""},
		"undeclared fields are free":                {"shop", undeclared("RejectPeople"), undeclared("Permit"), "spec.enforcement.undeclared becomes less strict"},
		"undeclared fields are refused":             {"shop", undeclared("RejectPeople"), undeclared("Reject"), ""},
		"an exception is added":                     {"shop", exception("a"), exception("a", "b"), "an exception is added"},
		"an exception is taken away":                {"shop", exception("a", "b"), exception("b"), ""},
		"what exists may become what git says":      {"shop", mode("Enforce"), set("3f2a9c1d", "metadata", "annotations", "mainstay.dev/adopt"), "existing objects become what the commit says"},
		"a large prune is confirmed":                {"shop", mode("Enforce"), set("3f2a9c1d", "metadata", "annotations", "mainstay.dev/confirm"), "what the commit prunes is confirmed"},
		"something else":                            {"shop", mode("Enforce"), set("#x", "spec", "contact"), ""},
		"one that holds nothing may be anything":    {"other", mode("Enforce"), mode("Audit"), ""},
		"two at once are one line":                  {"shop", mode("Enforce"), func(o map[string]any) { mode("Warn")(o); undeclared("Permit")(o) }, "spec.enforcement.mode becomes less strict; spec.enforcement.undeclared"},
		"it is deleted while it holds objects":      {"shop", mode("Enforce"), nil, "it holds 2 objects"},
		"one is deleted that does not hold a thing": {"other", mode("Enforce"), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce))
			a := onGitSync("DELETE", ownSpace, gitSync(test.name, test.old), nil)
			if test.new != nil {
				a = onGitSync("UPDATE", ownSpace, gitSync(test.name, test.old), gitSync(test.name, test.new))
			}
			if got := f.send(t, a); !got.Allowed {
				t.Fatalf("refused: %+v", got.Result)
			}
			var reasons []string
			for _, d := range f.recorder.decisions {
				if d.Verdict != policy.Permit {
					t.Errorf("recorded as %s", d.Verdict)
				}
				reasons = append(reasons, d.Reason)
			}
			switch {
			case test.reason == "" && len(reasons) > 0, test.reason != "" && (len(reasons) != 1 || !strings.Contains(reasons[0], test.reason)):
				t.Errorf("recorded %q, want %q", reasons, test.reason)
			}
		})
	}
}

// A GitSync that git declares is held like any object, but for the gestures of
// whoever is on call.
func TestHandlerHoldsAGitSyncThatGitDeclares(t *testing.T) {
	id := ownership.ID{Group: "mainstay.dev", Kind: "GitSync", Namespace: ownSpace, Name: "apps"}
	x := ownership.NewIndex()
	e := &ownership.Entry{ID: id, Version: "v1alpha1", Resource: "gitsyncs", Applied: content(
		`{"metadata":{"name":"apps","namespace":"mainstay-system"},"spec":{"enforcement":{"mode":"Enforce","undeclared":"RejectPeople"}}}`)}
	if err := x.Replace(syncHead(v1alpha1.ModeEnforce), []*ownership.Entry{e}); err != nil {
		t.Fatal(err)
	}
	note := func(key, value string) func(map[string]any) { return set(value, "metadata", "annotations", key) }
	for name, test := range map[string]struct {
		new     map[string]any
		allowed bool
	}{
		"its spec changes":                 {gitSync("apps", set("Audit", "spec", "enforcement", "mode")), false},
		"an annotation":                    {gitSync("apps", note("a/b", "c")), false},
		"another annotation of Mainstay's": {gitSync("apps", note("mainstay.dev/other", "c")), false},
		"it is told to look now":           {gitSync("apps", note(v1alpha1.RequestedAtAnnotation, "now")), true},
		"it is suspended":                  {gitSync("apps", note(v1alpha1.SuspendAnnotation, "1h INC-4711")), true},
		"both, and its spec":               {gitSync("apps", note(v1alpha1.SuspendAnnotation, "1h INC-4711"), set("#x", "spec", "contact")), false},
		"it is deleted":                    {nil, false},
		"Mainstay's finalizer comes":       {gitSync("apps", set([]any{v1alpha1.GitSyncFinalizer}, "metadata", "finalizers")), true},
		"another finalizer comes":          {gitSync("apps", set([]any{"example.org/x"}, "metadata", "finalizers")), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSuspensions()
			f := newFixture(t, x, s.wire)
			a := onGitSync("DELETE", ownSpace, gitSync("apps"), nil)
			if test.new != nil {
				a = onGitSync("UPDATE", ownSpace, gitSync("apps"), test.new)
			}
			got := f.send(t, a)
			if got.Allowed != test.allowed {
				t.Errorf("allowed = %v, want %v: %+v", got.Allowed, test.allowed, got.Result)
			}
			if !got.Allowed && len(s.begun) > 0 {
				t.Errorf("recorded a suspension that was refused: %+v", s.begun)
			}
		})
	}
}

// Its objects would be nobody's when it is deleted without Mainstay's finalizer.
func TestHandlerKeepsTheFinalizerOfAGitSyncThatGitDeclares(t *testing.T) {
	id := ownership.ID{Group: "mainstay.dev", Kind: "GitSync", Namespace: ownSpace, Name: "apps"}
	x := ownership.NewIndex()
	e := &ownership.Entry{ID: id, Version: "v1alpha1", Resource: "gitsyncs", Applied: content(
		`{"metadata":{"name":"apps","namespace":"mainstay-system"},"spec":{"enforcement":{"mode":"Enforce","undeclared":"RejectPeople"}}}`)}
	if err := x.Replace(syncHead(v1alpha1.ModeEnforce), []*ownership.Entry{e}); err != nil {
		t.Fatal(err)
	}
	held := set([]any{v1alpha1.GitSyncFinalizer}, "metadata", "finalizers")
	going := set("2026-01-02T03:04:05Z", "metadata", "deletionTimestamp")
	for name, test := range map[string]struct {
		old, new map[string]any
		allowed  bool
	}{
		"while it stays":           {gitSync("apps", held), gitSync("apps"), false},
		"for another":              {gitSync("apps", held), gitSync("apps", set([]any{"example.org/x"}, "metadata", "finalizers")), false},
		"when its deletion is due": {gitSync("apps", held, going), gitSync("apps", going), true},
	} {
		t.Run(name, func(t *testing.T) {
			got := newFixture(t, x, newSuspensions().wire).send(t, onGitSync("UPDATE", ownSpace, test.old, test.new))
			if got.Allowed != test.allowed {
				t.Errorf("allowed = %v, want %v: %+v", got.Allowed, test.allowed, got.Result)
			}
		})
	}
}

func TestHandlerKnowsTheLibrary(t *testing.T) {
	engine, err := policy.New(t.Context(), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	with := func(library []any, parameters map[string]any) map[string]any {
		return gitSync("s", set(library, "spec", "policies", "library"), set(parameters, "spec", "policies", "parameters"))
	}
	accounts := map[string]any{"accounts": []any{"autoscaling:keda-operator"}}
	for name, test := range map[string]struct {
		library    []any
		parameters map[string]any
		message    string // empty: allowed
	}{
		"a policy that it has":                       {[]any{"keda"}, nil, ""},
		"with a parameter":                           {[]any{"keda"}, map[string]any{"keda": accounts}, ""},
		"one that it does not have":                  {[]any{"kdea"}, nil, `the library has no policy "kdea" (did you mean "keda"?)`},
		"both, and which is wrong":                   {[]any{"vpa", "isto"}, nil, `did you mean "istio"?`},
		"a parameter that the policy does not have":  {[]any{"keda"}, map[string]any{"keda": map[string]any{"acounts": []any{"a:b"}}}, `did you mean "accounts"?`},
		"parameters for the repository's own policy": {[]any{"keda"}, map[string]any{"night": map[string]any{"from": "22:00"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) { o.CheckPolicies = engine.Check })
			got := f.send(t, onGitSync("CREATE", ownSpace, nil, with(test.library, test.parameters)))
			switch {
			case got.Allowed != (test.message == ""):
				t.Errorf("allowed = %v: %+v", got.Allowed, got.Result)
			case !got.Allowed && !(strings.Contains(got.Result.Message, "spec.policies.library: ") && strings.Contains(got.Result.Message, test.message)):
				t.Errorf("refused with %q, want %q", got.Result.Message, test.message)
			}
		})
	}
}

func TestHandlerCompilesAChangePolicy(t *testing.T) {
	engine, err := policy.New(t.Context(), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policyOf := func(name, rego string) map[string]any {
		return object(name, set(map[string]any{"freeze.rego": rego}, "spec", "modules"))
	}
	const (
		good   = "package freeze\n\ndeny contains {\"reason\": \"no\"} if input.name == \"web\"\n"
		broken = "package freeze\n\ndeny contains {\"reason\": \"no\"} if {\n\thttp.send({})\n}\n"
	)
	failing := object("p", set(map[string]any{"freeze.rego": good, "freeze_test.rego": "package freeze_test\n\nimport data.freeze\n\ntest_no if count(freeze.deny) == 7\n"}, "spec", "modules"))
	on := func(operation, namespace string, old, updated map[string]any) asked {
		return own(operation, "mainstay.dev", "ChangePolicy", "changepolicies", namespace, old, updated)
	}
	for name, test := range map[string]struct {
		asked   asked
		allowed bool
		message string
	}{
		"one that compiles":                       {on("CREATE", ownSpace, nil, policyOf("p", good)), true, ""},
		"one that does not":                       {on("CREATE", ownSpace, nil, policyOf("p", broken)), false, "the policies do not load\n  freeze.rego:4:"},
		"one that does not, in a tenant's":        {on("CREATE", "shop", nil, policyOf("p", broken)), false, "freeze.rego:4:"},
		"one whose test fails":                    {on("CREATE", ownSpace, nil, failing), false, "freeze_test.rego"},
		"an update that does not compile":         {on("UPDATE", ownSpace, policyOf("p", good), policyOf("p", broken)), false, "freeze.rego:4:"},
		"an update that mends it":                 {on("UPDATE", ownSpace, policyOf("p", broken), policyOf("p", good)), true, ""},
		"an update of the labels of a broken one": {on("UPDATE", ownSpace, policyOf("p", broken), object("p", set("x", "metadata", "labels", "y"), set(map[string]any{"freeze.rego": broken}, "spec", "modules"))), true, ""},
		"a broken one goes":                       {on("DELETE", ownSpace, policyOf("p", broken), nil), true, ""},
		"Mainstay's own account brings it":        {as(syncAccount, on("CREATE", ownSpace, nil, policyOf("p", broken))), false, "freeze.rego:4:"},
		"one in the name of a repository":         {on("CREATE", ownSpace, nil, policyOf("gitsync-shop", good)), false, "it comes from the repository of a GitSync"},
		"one in the name of a tenant's":           {on("CREATE", "shop", nil, policyOf("gitsync-shop", good)), false, "it comes from the repository of a GitSync"},
		"a repository's is edited":                {on("UPDATE", ownSpace, policyOf("gitsync-shop", good), policyOf("gitsync-shop", broken)), false, "it comes from the repository of a GitSync"},
		"a repository's is deleted":               {on("DELETE", ownSpace, policyOf("gitsync-shop", good), nil), false, "it comes from the repository of a GitSync"},
		"that of a GitSync which is gone":         {on("DELETE", ownSpace, policyOf("gitsync-gone", good), nil), true, ""},
		"a policy of the library":                 {on("CREATE", ownSpace, nil, object("p", set([]any{"keda"}, "spec", "library"))), true, ""},
		"one that the library does not have":      {on("CREATE", ownSpace, nil, object("p", set([]any{"kdea"}, "spec", "library"))), false, `did you mean "keda"?`},
		"Mainstay writes a repository's":          {as(syncAccount, on("UPDATE", ownSpace, policyOf("gitsync-shop", good), policyOf("gitsync-shop", broken))), true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) { o.CheckPolicies = engine.Check })
			got := f.send(t, test.asked)
			if got.Allowed != test.allowed {
				t.Fatalf("allowed = %v, want %v: %+v", got.Allowed, test.allowed, got.Result)
			}
			if !test.allowed && !strings.Contains(got.Result.Message, test.message) {
				t.Errorf("refused with %q, want %q", got.Result.Message, test.message)
			}
		})
	}
	t.Run("no time to compile is no permit", func(t *testing.T) {
		f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) {
			o.CheckPolicies = func(context.Context, policy.Source) error { return context.DeadlineExceeded }
		})
		got := f.send(t, on("CREATE", ownSpace, nil, policyOf("p", good)))
		if got.Allowed || got.Result.Code != 503 {
			t.Errorf("got %+v, want 503", got)
		}
	})
	t.Run("nothing is in force by being checked", func(t *testing.T) {
		if err := engine.Check(t.Context(), policy.Source{Key: "changepolicy/a/b", Modules: map[string]string{"freeze.rego": good}}); err != nil {
			t.Fatal(err)
		}
		var load *policy.LoadError
		if err := engine.Check(t.Context(), policy.Source{Key: "changepolicy/a/b", Modules: map[string]string{"freeze.rego": broken}}); !errors.As(err, &load) {
			t.Errorf("error %v", err)
		}
		if engine.InForce(&ownership.Record{Entry: &ownership.Entry{ID: web}, Sync: &ownership.Sync{}}, "freeze.deny") {
			t.Error("the checked rule is in force")
		}
	})
}
