// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

func TestMain(m *testing.M) {
	os.Exit(apiserver.Main(m, apiserver.Options{WithoutControllerManager: true}))
}

// kind is one of Mainstay's kinds on a real API server.
type kind struct {
	t      *testing.T
	name   string
	client dynamic.ResourceInterface
}

func newKind(t *testing.T, name, resource string) *kind {
	t.Helper()
	client, err := dynamic.NewForConfig(apiserver.Config(t, "admin"))
	if err != nil {
		t.Fatal(err)
	}
	gvr := schema.GroupVersionResource{Group: "mainstay.dev", Version: "v1alpha1", Resource: resource}
	return &kind{t, name, client.Resource(gvr).Namespace(apiserver.Namespace(t))}
}

// create makes an object of the kind, strictly: a field that the schema does
// not have is an error.
func (k *kind) create(name, spec string) (*unstructured.Unstructured, error) {
	k.t.Helper()
	content := map[string]any{}
	if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
		k.t.Fatalf("%v\n%s", err, spec)
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "mainstay.dev/v1alpha1", "kind": k.name,
		"metadata": map[string]any{"name": name}, "spec": content,
	}}
	return k.client.Create(k.t.Context(), object, metav1.CreateOptions{FieldValidation: "Strict"})
}

// refused is a spec that the API server must refuse with these words.
type refused struct{ spec, says string }

func (k *kind) refuses(cases map[string]refused) {
	k.t.Helper()
	for name, tt := range cases {
		k.t.Run("refused: "+name, func(t *testing.T) {
			_, err := k.create("refused", tt.spec)
			switch {
			case err == nil:
				t.Error("it was accepted")
			case !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
				t.Errorf("got %v, want it to be invalid", err)
			case !strings.Contains(err.Error(), tt.says):
				t.Errorf("got %v, want it to say %q", err, tt.says)
			}
		})
	}
}

func (k *kind) accepts(cases map[string]string) {
	k.t.Helper()
	for name, spec := range cases {
		k.t.Run("accepted: "+name, func(t *testing.T) {
			object, err := k.create("accepted", spec)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.client.Delete(t.Context(), object.GetName(), metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// gitSync is the smallest spec, with parts replaced; those are top-level keys.
func gitSync(parts ...string) string {
	spec := map[string]string{
		"source":      "source: {url: 'https://git.example.org/shop.git', ref: {branch: main}}",
		"enforcement": "enforcement: {mode: Enforce}",
	}
	for _, p := range parts {
		key, _, _ := strings.Cut(p, ":")
		spec[key] = p
	}
	var text strings.Builder
	for _, part := range spec {
		text.WriteString(part + "\n")
	}
	return text.String()
}

func source(url, rest string) string {
	return gitSync("source: {url: '" + url + "', " + rest + "}")
}

const (
	https  = "https://git.example.org/shop.git"
	branch = "ref: {branch: main}"
)

func TestGitSyncsAreValidated(t *testing.T) {
	k := newKind(t, "GitSync", "gitsyncs")
	exception := func(text string) string { return gitSync("policies: {exceptions: [{" + text + "}]}") }
	k.refuses(map[string]refused{
		"no source":                        {"enforcement: {mode: Enforce}", "spec.source: Required value"},
		"no enforcement":                   {"source: {url: 'https://git.example.org/shop.git', ref: {branch: main}}", "spec.enforcement: Required value"},
		"no mode":                          {gitSync("enforcement: {undeclared: Permit}"), "spec.enforcement.mode: Required value"},
		"an unknown mode":                  {gitSync("enforcement: {mode: Block}"), `supported values: "Observe", "Audit", "Warn", "Enforce"`},
		"an unknown word for undeclared":   {gitSync("enforcement: {mode: Enforce, undeclared: Refuse}"), `supported values: "RejectPeople", "Reject", "Permit"`},
		"the form of scp":                  {source("git@git.example.org:shop.git", branch), "git@host:path.git is written ssh://git@host/path.git"},
		"a branch and a range":             {source(https, "ref: {branch: main, semver: '~1.2'}"), "exactly one of branch, tag, semver, commit and name must be set"},
		"a ref that is not full":           {source(https, "ref: {name: main}"), "spec.source.ref.name"},
		"a ref with a colon":               {source(https, "ref: {name: 'refs/heads/a:b'}"), "spec.source.ref.name"},
		"verification without keys":        {source(https, branch+", verify: {mode: Head}"), "verify.secretRef is required"},
		"an unknown mode of verification":  {source(https, branch+", verify: {mode: Signed, secretRef: {name: keys}}"), `supported values: "Off", "Head", "Strict"`},
		"an http URL":                      {source("http://git.example.org/shop.git", branch), "url must start with https://, ssh:// or file:///"},
		"a file URL with a host":           {source("file://host/shop.git", branch), "url must start with https://, ssh:// or file:///"},
		"an empty URL":                     {source("", branch), "url must start with https://, ssh:// or file:///"},
		"no ref":                           {source(https, "ref: {}"), "exactly one of branch, tag, semver, commit and name must be set"},
		"two refs":                         {source(https, "ref: {branch: main, tag: v1}"), "exactly one of branch, tag, semver, commit and name must be set"},
		"three refs":                       {source(https, `ref: {branch: main, tag: v1, commit: "0123456789012345678901234567890123456789"}`), "exactly one of branch, tag, semver, commit and name must be set"},
		"a short commit":                   {source(https, "ref: {commit: 1a2b3c4}"), "spec.source.ref.commit"},
		"a commit in capitals":             {source(https, "ref: {commit: 0123456789ABCDEF678901234567890123456789}"), "spec.source.ref.commit"},
		"an absolute path":                 {source(https, branch+", path: /clusters"), "path must be relative and stay inside the repository"},
		"a path that leads out":            {source(https, branch+", path: clusters/../../x"), "path must be relative and stay inside the repository"},
		"a Secret without a name":          {source(https, branch+", secretRef: {}"), "spec.source.secretRef.name: Required value"},
		"an interval below a second":       {gitSync("interval: 100ms"), "interval must be between 1s and 24h"},
		"an interval of days":              {gitSync("interval: 25h"), "interval must be between 1s and 24h"},
		"a negative interval":              {gitSync("interval: -1m"), "interval must be between 1s and 24h"},
		"a timeout of zero":                {gitSync("timeout: 0s"), "timeout must be between 1s and 1h"},
		"a timeout of hours":               {gitSync("timeout: 2h"), "timeout must be between 1s and 1h"},
		"an unknown deletion policy":       {gitSync("deletionPolicy: Keep"), `supported values: "Orphan", "Delete"`},
		"a contact of two lines":           {gitSync(`contact: "a\nb"`), "spec.contact"},
		"a policy folder that leads out":   {gitSync("policies: {paths: [policies, ../other]}"), "paths must be relative and stay inside the repository"},
		"an absolute policy folder":        {gitSync("policies: {paths: [/policies]}"), "paths must be relative and stay inside the repository"},
		"an exception without a reason":    {exception("paths: [spec.replicas]"), "spec.policies.exceptions[0].reason: Required value"},
		"an exception with no reason":      {exception("paths: [spec.replicas], reason: ''"), "spec.policies.exceptions[0].reason"},
		"an exception without paths":       {exception("reason: x"), "spec.policies.exceptions[0].paths: Required value"},
		"an exception with no paths":       {exception("reason: x, paths: []"), "spec.policies.exceptions[0].paths"},
		"an exception that ends at a word": {exception("reason: x, paths: [spec.replicas], until: tomorrow"), "spec.policies.exceptions[0].until"},
		"a field that does not exist":      {gitSync("suspend: true"), `unknown field "spec.suspend"`},
	})
	k.accepts(map[string]string{
		"the smallest":    gitSync(),
		"a folder":        source("file:///srv/shop.git", branch),
		"a tag":           source(https, "ref: {tag: v1.2.3}"),
		"a range":         source(https, "ref: {semver: '>=1.2.0 <2.0.0'}"),
		"any ref":         source(https, "ref: {name: refs/pull/7/head}"),
		"ssh":             source("ssh://git@git.example.org:2222/shop.git", branch+", secretRef: {name: shop-git}"),
		"verification":    source(https, branch+", verify: {mode: Strict, secretRef: {name: shop-signers}}, allowRewind: true"),
		"no verification": source(https, branch+", verify: {mode: 'Off'}"),
		"a commit":        source(https, `ref: {commit: "0123456789012345678901234567890123456789"}`),
		"dots in a name":  source(https, branch+", path: clusters/..prod/a..b"),
		"the bounds":      gitSync("interval: 1s", "timeout: 1h"),
		"an exception":    exception("kinds: [Deployment], names: ['web-*'], paths: [spec.replicas, '**'], reason: x, until: '2030-01-02T03:04:05Z'"),
		"every other way": gitSync("deletionPolicy: Delete", "prune: false", "enforcement: {mode: Audit, undeclared: Permit}", "contact: '#shop'"),
	})
	t.Run("refused: a name that does not fit a label", func(t *testing.T) {
		if _, err := k.create(strings.Repeat("n", 51), gitSync()); err == nil || !strings.Contains(err.Error(), "metadata.name must be at most 50 characters") {
			t.Errorf("51 characters: %v", err)
		}
		if _, err := k.create(strings.Repeat("n", 50), gitSync()); err != nil {
			t.Errorf("50 characters: %v", err)
		}
	})
}

func TestGitSyncsHaveDefaults(t *testing.T) {
	k := newKind(t, "GitSync", "gitsyncs")
	object, err := k.create("shop", gitSync())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"source": map[string]any{
			"url": https, "path": ".", "ref": map[string]any{"branch": "main"}, "submodules": "Refuse",
		},
		"interval": "1m", "timeout": "5m", "adopt": "Equal", "prune": true, "maxPrune": "50%", "deletionPolicy": "Orphan", "health": "Wait",
		"enforcement": map[string]any{"mode": "Enforce", "undeclared": "RejectPeople", "controllers": "Refuse"},
	}
	if diff := cmp.Diff(want, object.Object["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	t.Run("and what is said stays as it is said", func(t *testing.T) {
		said := gitSync("interval: 10s", "timeout: 30s", "adopt: Never", "prune: false", "maxPrune: 10%", "deletionPolicy: Delete", "enforcement: {mode: Warn, undeclared: Permit}")
		object, err := k.create("said", said)
		if err != nil {
			t.Fatal(err)
		}
		got := maps.Clone(object.Object["spec"].(map[string]any))
		delete(got, "source")
		want := map[string]any{
			"interval": "10s", "timeout": "30s", "adopt": "Never", "prune": false, "maxPrune": "10%", "deletionPolicy": "Delete", "health": "Wait",
			"enforcement": map[string]any{"mode": "Warn", "undeclared": "Permit", "controllers": "Refuse"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("spec (-want +got):\n%s", diff)
		}
	})
}

func TestStatusIsWrittenApartFromTheSpec(t *testing.T) {
	k := newKind(t, "GitSync", "gitsyncs")
	if _, err := k.create("shop", gitSync()); err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"spec":{"prune":false},"status":{"lastAppliedRevision":"main@sha1:1a2b"}}`)
	object, err := k.client.Patch(t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok, _ := unstructured.NestedString(object.Object, "status", "lastAppliedRevision"); ok {
		t.Errorf("a write of the spec set the status to %q", got)
	}
	object, err = k.client.Patch(t.Context(), "shop", types.MergePatchType,
		[]byte(`{"spec":{"prune":true},"status":{"lastAppliedRevision":"main@sha1:1a2b"}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	prune, _, _ := unstructured.NestedBool(object.Object, "spec", "prune")
	revision, _, _ := unstructured.NestedString(object.Object, "status", "lastAppliedRevision")
	drift, _, _ := unstructured.NestedMap(object.Object, "status", "drift")
	if prune || revision != "main@sha1:1a2b" {
		t.Errorf("prune = %t, revision = %q, want the status alone to be written", prune, revision)
	}
	if want := map[string]any{"current": int64(0), "permitted": int64(0), "refused24h": int64(0), "reverted24h": int64(0)}; !cmp.Equal(want, drift) {
		t.Errorf("drift = %v, want zeros for the printed columns", drift)
	}
}

func TestChangePoliciesAreValidated(t *testing.T) {
	k := newKind(t, "ChangePolicy", "changepolicies")
	k.refuses(map[string]refused{
		"no policies":                      {"{}", "modules or library must name a policy"},
		"an empty set of modules":          {"modules: {}", "modules or library must name a policy"},
		"an empty library":                 {"library: []", "modules or library must name a policy"},
		"a module that is not named .rego": {"modules: {hpa.rego: package hpa, notes.txt: x}", "every module's name must end in .rego"},
		"a module that is no text":         {"modules: {hpa.rego: {a: b}}", "spec.modules.hpa.rego"},
		"a field that does not exist":      {"modules: {hpa.rego: package hpa}\nsettings: {a: b}", `unknown field "spec.settings"`},
	})
	k.accepts(map[string]string{"a policy with its test": "modules: {hpa/hpa.rego: package hpa, hpa/hpa_test.rego: package hpa}"})
}

func TestBreakGlassesAreValidated(t *testing.T) {
	k := newKind(t, "BreakGlass", "breakglasses")
	with := func(rest string) string { return "requestedBy: alice\nreason: incident 7\n" + rest }
	k.refuses(map[string]refused{
		"nobody asks":                 {"reason: x\ndecision: 7f3k2\nduration: 1h", "spec.requestedBy: Required value"},
		"no reason":                   {"requestedBy: alice\ndecision: 7f3k2\nduration: 1h", "spec.reason: Required value"},
		"an empty reason":             {"requestedBy: alice\nreason: ''\ndecision: 7f3k2\nduration: 1h", "spec.reason"},
		"no duration":                 {with("decision: 7f3k2"), "spec.duration: Required value"},
		"a duration of zero":          {with("decision: 7f3k2\nduration: 0s"), "duration must be more than 0s and at most 24h"},
		"a negative duration":         {with("decision: 7f3k2\nduration: -1h"), "duration must be more than 0s and at most 24h"},
		"a duration of days":          {with("decision: 7f3k2\nduration: 25h"), "duration must be more than 0s and at most 24h"},
		"neither decision nor scope":  {with("duration: 1h"), "exactly one of decision, scope and extends must be set"},
		"decision and scope":          {with("duration: 1h\ndecision: 7f3k2\nscope: {namespaces: [shop]}"), "exactly one of decision, scope and extends must be set"},
		"what is no decision's id":    {with("duration: 1h\ndecision: 'No way'"), "spec.decision"},
		"a field that does not exist": {with("duration: 1h\ndecision: 7f3k2\nforever: true"), `unknown field "spec.forever"`},
		"an unknown operation":        {with("duration: 1h\nscope: {names: [web], operations: [PATCH]}"), "Unsupported value"},
		"a subject of an unknown kind": {
			with("duration: 1h\ndecision: 7f3k2\nsubjects: [{kind: Robot, name: x}]"), "Unsupported value",
		},
		"a service account without its namespace": {
			with("duration: 1h\ndecision: 7f3k2\nsubjects: [{kind: ServiceAccount, name: x}]"), "namespace must be given for a ServiceAccount, and for nothing else",
		},
		"a user in a namespace": {
			with("duration: 1h\ndecision: 7f3k2\nsubjects: [{kind: User, name: x, namespace: shop}]"), "namespace must be given for a ServiceAccount, and for nothing else",
		},
		"an extension with a scope":      {with("duration: 1h\nextends: bg-1\nscope: {names: [web]}"), "exactly one of decision, scope and extends must be set"},
		"an extension for others":        {with("duration: 1h\nextends: bg-1\nsubjects: [{kind: Group, name: ops}]"), "an extension is for those who may use the grant that it extends"},
		"an unknown end":                 {with("duration: 1h\ndecision: 7f3k2\natEnd: Shrug"), "Unsupported value"},
		"an emergency that was approved": {with("duration: 1h\ndecision: 7f3k2\nemergency: true\napprovedBy: bob"), "an emergency grant needs nobody's approval"},
	})
	k.accepts(map[string]string{
		"for a decision": with("duration: 24h\ndecision: 7f3k2"),
		"for a scope":    with("duration: 1m\nscope: {namespaces: [shop], kinds: [Deployment], names: [web], paths: [spec.replicas]}"),
		"an extension":   with("duration: 1h\nextends: bg-1"),
		"that reverts":   with("duration: 1h\ndecision: 7f3k2\natEnd: Revert"),
		"for others":     with("duration: 1m\nscope: {names: [web]}\nsubjects: [{kind: ServiceAccount, name: x, namespace: shop}, {kind: Group, name: ops}]"),
	})
	t.Run("a request can't be edited", func(t *testing.T) {
		if _, err := k.create("mine", with("duration: 1h\ndecision: 7f3k2")); err != nil {
			t.Fatal(err)
		}
		for name, patch := range map[string]string{
			"longer":         `{"spec":{"duration":"2h"}}`,
			"wider":          `{"spec":{"decision":null,"scope":{"namespaces":["shop"]}}}`,
			"for another":    `{"spec":{"requestedBy":"bob"}}`,
			"by others":      `{"spec":{"subjects":[{"kind":"Group","name":"developers"}]}}`,
			"an emergency":   `{"spec":{"emergency":true}}`,
			"another end":    `{"spec":{"atEnd":"Revert"}}`,
			"an extension":   `{"spec":{"decision":null,"extends":"bg-1"}}`,
			"another ticket": `{"spec":{"ticket":"INC-1"}}`,
		} {
			_, err := k.client.Patch(t.Context(), "mine", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "a request can't be edited: delete it and make a new one") {
				t.Errorf("%s: %v", name, err)
			}
		}
		label := []byte(`{"metadata":{"labels":{"incident":"7"}}}`)
		if _, err := k.client.Patch(t.Context(), "mine", types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
			t.Errorf("a label: %v, want it to be possible", err)
		}
	})
	t.Run("it is approved and revoked once, for good", func(t *testing.T) {
		if _, err := k.create("ours", with("duration: 1h\ndecision: 7f3k2")); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ patch, say string }{
			{`{"spec":{"approvedBy":"bob","duration":"60m"}}`, ""},
			{`{"spec":{"approvedBy":"cy"}}`, "an approval can't be changed"},
			{`{"spec":{"approvedBy":null}}`, "an approval can't be changed"},
			{`{"spec":{"revoked":true}}`, ""},
			{`{"spec":{"revoked":false}}`, "what was revoked stays revoked"},
			{`{"spec":{"revoked":null}}`, "what was revoked stays revoked"},
		} {
			_, err := k.client.Patch(t.Context(), "ours", types.MergePatchType, []byte(step.patch), metav1.PatchOptions{})
			if step.say == "" && err != nil || step.say != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), step.say)) {
				t.Errorf("%s: %v, want %q", step.patch, err, step.say)
			}
		}
	})
}

func TestTheNameOfARepositorysPolicyTellsItsGitSync(t *testing.T) {
	for name, want := range map[string]string{"gitsync-shop": "shop", "gitsync-gitsync-x": "gitsync-x", "shop": "", "my-gitsync-shop": ""} {
		got, ok := v1alpha1.GitSyncOfPolicy(name)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, %t, want %q", name, got, ok, want)
		}
	}
}
