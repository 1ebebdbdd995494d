// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

const service = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: e, labels: {LABELS}}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: TARGET}]}
`

func web(labels, target string) string {
	return strings.NewReplacer("LABELS", labels, "TARGET", target).Replace(service)
}

func dependent(name, on string) string {
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\n  namespace: e\n"
	if on != "" {
		text += "  annotations: {config.kubernetes.io/depends-on: /namespaces/e/ConfigMap/" + on + "}\n"
	}
	return text
}

// other is a second GitSync of the same repository.
const (
	other = "gitsync second -n mainstay-system"
	ready = `.status.conditions[?(@.type=="Ready")]`
)

// second makes another GitSync, which is as the first but for what is said.
func second(t *testing.T, but func(*v1alpha1.GitSyncSpec)) *v1alpha1.GitSync {
	t.Helper()
	first := shared.GitSync(t)
	gs := &v1alpha1.GitSync{Spec: *first.Spec.DeepCopy()}
	gs.Namespace, gs.Name, gs.Spec.Policies = first.Namespace, "second", v1alpha1.Policies{}
	but(&gs.Spec)
	world.Must(t, shared.Client.Create(t.Context(), gs))
	t.Cleanup(func() {
		world.Must(t, client.IgnoreNotFound(shared.Client.Delete(world.Lasting(t), gs)))
		shared.Await(t, "the second GitSync is gone", func() (bool, string) {
			out := live(t, other, ".metadata.name")
			return out == "absent", out
		})
	})
	return gs
}

// lifecycle are the scenarios of objects that come and go.
func lifecycle() []scenario {
	return []scenario{
		{
			id: "E13", when: "a Service with a port and address that the API server gave it; git changes its targetPort", theirs: "both stay",
			try: func(t *testing.T) {
				commit(t, map[string]string{"e/web.yaml": web("app: web", "8080")})
				const port, address = ".spec.ports[0].nodePort", ".spec.clusterIP"
				p, a := live(t, "service web -n e", port), live(t, "service web -n e", address)
				commit(t, map[string]string{"e/web.yaml": web("app: web", "9090")})
				is(t, "service web -n e", ".spec.ports[0].targetPort", "9090")
				is(t, "service web -n e", port, p)
				is(t, "service web -n e", address, a)
			},
		},
		{
			id: "E1", when: "an object with `deletion: detach`, and one without, leave git", theirs: "kept, and the tool's metadata is taken off; deleted",
			try: func(t *testing.T) {
				commit(t, map[string]string{
					"e/kept.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: e, annotations: {client.lifecycle.config.k8s.io/deletion: detach}}\n",
					"e/gone.yaml": dependent("gone", ""),
				})
				commit(t, map[string]string{"e/kept.yaml": "", "e/gone.yaml": ""})
				is(t, "configmap kept -n e", toolLabel, "absent")
				is(t, "configmap kept -n e", ".metadata.name", "kept")
				is(t, "configmap gone -n e", ".metadata.name", "absent")
			},
		},
		{
			id: "E4, E8", when: "a commit removes all namespaces; then the sync is deleted", theirs: "an error, and they stay; then deleted, the sync last",
			ours: "the same: it waits for a confirmation; with `deletionPolicy: Delete`",
			try:  allNamespaces,
		},
		{
			id: "E10, E11", when: "a commit has a definition and an object of its kind; the next one removes the definition alone", theirs: "an error for the object until the definition is there; then an error, for the kind is not known",
			ours: "both are applied at once; then it waits for a confirmation, and nothing is deleted", why: "a definition that goes takes all objects of its kind along",
			try: definition,
		},
		{
			id: "E14", when: "an aggregated ClusterRole; git adds a label", theirs: "the rules that were aggregated stay", try: aggregated,
		},
		{
			id: "E15", when: "git adds, changes and removes labels", theirs: "exactly those are there, beside the tool's own",
			try: func(t *testing.T) {
				own := `"mainstay.dev/sync":"` + label("Service", "e", "web") + `"`
				for _, step := range [][2]string{{"app: web, a: x", `{"a":"x","app":"web",` + own + `}`}, {"a: z", `{"a":"z",` + own + `}`}} {
					commit(t, map[string]string{"e/web.yaml": web(step[0], "9090")})
					is(t, "service web -n e", ".metadata.labels", step[1])
				}
			},
		},
		{
			id: "E16", when: "a port without a protocol, which the API server adds", theirs: "no difference, and nothing is denied; deleted when git removes it",
			try: func(t *testing.T) {
				is(t, "service web -n e", ".spec.ports[0].protocol", "TCP")
				allowed(t, "apply --server-side --force-conflicts --field-manager=ci -f -", web("a: z", "9090"))
				is(t, "gitsync shop -n mainstay-system", ".status.drift.current", "0")
				commit(t, map[string]string{"e/web.yaml": ""})
				is(t, "service web -n e", ".metadata.name", "absent")
			},
		},
		{
			id: "E6", when: "objects with one annotation of the tool, or a label `managed-by` of another; one that git declares with such a label", theirs: "left alone; the label stays",
			try: foreigners,
		},
		{
			id: "E9", when: "a declared object has a foreign finalizer; the sync is deleted", theirs: "it waits until the finalizer is gone",
			ours: "it says what it waits for, until the finalizer is gone or `spec.timeout` is over", why: "whatever keeps an object, a sync can be got rid of; an Event says what was left",
			apart: true, try: finalizer,
		},
	}
}

func foreigners(t *testing.T) {
	foreign := map[string]string{
		"e6-marked": "annotations: {mainstay.dev/prune: disabled}", "e6-helm": "labels: {app.kubernetes.io/managed-by: Helm}", "e6-ours": "labels: {app.kubernetes.io/managed-by: mainstay}",
	}
	versions := map[string]string{}
	for name, metadata := range foreign {
		allowed(t, "create -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+", namespace: e, "+metadata+"}\n")
		versions[name] = live(t, "configmap "+name+" -n e", ".metadata.resourceVersion")
	}
	commit(t, map[string]string{"e/e6.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e6, namespace: e, labels: {app.kubernetes.io/managed-by: Helm}}\n"})
	is(t, "configmap e6 -n e", `.metadata.labels.app\.kubernetes\.io/managed-by`, "Helm")
	for name, version := range versions {
		is(t, "configmap "+name+" -n e", ".metadata.resourceVersion", version)
	}
	allowed(t, "delete -n e configmap e6-marked e6-helm e6-ours")
}

func finalizer(t *testing.T) {
	r := follow(t, system, "e9", map[string]string{
		"cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e9, namespace: default, finalizers: [example.org/stuck]}\n",
	}, deletes)
	r.applied(t)
	allowed(t, "delete gitsync e9 -n mainstay-system --wait=false")
	r.says(t, "Deleting", "ConfigMap default/e9", "waited for until ")
	is(t, "configmap e9 -n default", ".metadata.name", "e9")
	allowed(t, `patch configmap e9 -n default --type=merge -p={"metadata":{"finalizers":null}}`)
	for _, object := range []string{r.object(), "configmap e9 -n default"} {
		becomes(t, object, ".metadata.name", "absent")
	}
}

// allNamespaces has a second GitSync declare nothing but Namespaces.
func allNamespaces(t *testing.T) {
	shared.Push(t, map[string]string{".spaces/one.yaml": namespace("e4-one"), ".spaces/two.yaml": namespace("e4-two"), ".spaces/cm.yaml": dependent("e4", "")})
	gs := second(t, func(spec *v1alpha1.GitSyncSpec) { spec.Source.Path, spec.DeletionPolicy = ".spaces", "Delete" })
	becomes(t, other, ready+".status", "True")
	shared.Push(t, map[string]string{".spaces/one.yaml": "", ".spaces/two.yaml": ""})
	becomes(t, other, ready+".reason", "PrunePending")
	is(t, "namespace e4-one", ".status.phase", "Active")
	is(t, "namespace e4-two", ".status.phase", "Active")
	world.Must(t, shared.Client.Delete(t.Context(), gs))
	for _, object := range []string{other, "namespace e4-one", "namespace e4-two", "configmap e4 -n e"} {
		becomes(t, object, ".metadata.name", "absent")
	}
}

const anvils = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: anvils.acme.example}
spec:
  group: acme.example
  scope: Namespaced
  names: {kind: Anvil, plural: anvils}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

func definition(t *testing.T) {
	const anvil = "anvil one -n e"
	commit(t, map[string]string{"e/crd.yaml": anvils, "e/anvil.yaml": "apiVersion: acme.example/v1\nkind: Anvil\nmetadata: {name: one, namespace: e}\nweight: heavy\n"})
	is(t, anvil, ".weight", "heavy")
	message := failing(t, "PrunePending", map[string]string{"e/crd.yaml": ""})
	if !strings.Contains(message, "anvils.acme.example") {
		t.Errorf("%q does not name the definition", message)
	}
	is(t, anvil, ".weight", "heavy")
	commit(t, map[string]string{"e/anvil.yaml": ""})
	is(t, "customresourcedefinition anvils.acme.example", ".metadata.name", "absent")
}

func aggregated(t *testing.T) {
	role := func(labels string) string {
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: e14, labels: {" + labels +
			"}}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {e14: part}}]}\n"
	}
	const verbs = ".rules[*].verbs"
	commit(t, map[string]string{"e/role.yaml": role("a: x")})
	allowed(t, "create -f -", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: e14-part, labels: {e14: part}}\n"+
		"rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n")
	becomes(t, "clusterrole e14", verbs, `["get"]`)
	commit(t, map[string]string{"e/role.yaml": role("a: z")})
	is(t, "clusterrole e14", ".metadata.labels.a", "z")
	is(t, "clusterrole e14", verbs, `["get"]`)
}
