// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// namespaces are the scenarios of Namespaces, of which some are special.
func namespaces() []scenario {
	return []scenario{
		{
			id: "E2, E3", when: "git declares the cluster's own Namespaces, that of the tool and another, and an object in one of them; then it drops them; the sync is deleted",
			theirs: "the special ones stay, unmanaged, with what is not declared in them; the other and the object are deleted",
			apart:  true, try: special,
		},
		{
			id: "E5", when: "git sets `managed: disabled` on a Namespace and a ConfigMap that it declares, then drops them; on one that is not there", theirs: "the tool's metadata is taken off, and they stay; never made",
			ours: "the same, with `mainstay.dev/prune: disabled`, when git drops them; with `config.kubernetes.io/local-config`, never made", why: "what is in git is held: to let it go is to take it out of git",
			apart: true, try: disabled,
		},
		{
			id: "E7", when: "git declares an object in a Namespace that nobody has made; then another sync declares it; the first is deleted",
			theirs: "made by itself, and kept; with the explicit strategy, an error until it is declared",
			ours:   "an error that says what to do, until somebody makes or declares it", why: "a Namespace that nobody declared has no quota, no owner and no end, and a typing error makes one",
			apart: true, try: undeclared,
		},
		{
			id: "E18", when: "a Namespace selector; people make, label and delete Namespaces", theirs: "the selected objects come and go with them; to delete one, the webhook has to be off",
			ours: "there is none: a sync with `targetNamespace` for each; a Namespace in which something is held can't be deleted while its sync is there", why: "what is where is said in git, and not by a label that anybody can set",
			apart: true, try: targets,
		},
	}
}

func special(t *testing.T) {
	theirs := []string{"default", "kube-system", "kube-node-lease", system}
	files := map[string]string{
		"bookstore.yaml": namespace("e2-bookstore"), "kube-public.yaml": namespace("kube-public"),
		"cm.yaml": data("default", "e3-managed", "git"), "more.yaml": data("default", "e3-more", "git"),
	}
	for _, name := range theirs {
		files[name+".yaml"] = namespace(name)
	}
	allowed(t, "create -f -", data("default", "e3-neighbour", "alice"))
	r := follow(t, system, "e2", files, deletes)
	r.applied(t)
	is(t, "namespace kube-node-lease", toolLabel, r.label("Namespace", "", "kube-node-lease"))
	// The commit after one that took objects over deletes none.
	r.commit(t, map[string]string{"more.yaml": data("default", "e3-more", "anew")})
	r.applied(t)

	dropped := map[string]string{"bookstore.yaml": "", "cm.yaml": ""}
	for _, name := range theirs {
		dropped[name+".yaml"] = ""
	}
	r.commit(t, dropped)
	r.applied(t)
	stay := func(names ...string) {
		t.Helper()
		for _, name := range names {
			becomes(t, "namespace "+name, toolLabel, "absent")
			is(t, "namespace "+name, ".status.phase", "Active")
			is(t, "namespace "+name, ".metadata.deletionTimestamp", "absent")
		}
		is(t, "configmap e3-neighbour -n default", ".data.from", "alice")
	}
	stay(theirs...)
	is(t, "configmap e3-managed -n default", ".metadata.name", "absent")
	becomes(t, "namespace e2-bookstore", ".metadata.name", "absent")

	r.deleted(t)
	stay("kube-public")
	is(t, "configmap e3-more -n default", ".metadata.name", "absent")
}

func disabled(t *testing.T) {
	const off = "annotations: {mainstay.dev/prune: disabled}"
	r := follow(t, system, "e5", map[string]string{
		"ns.yaml":    namespace("e5", v1alpha1.PruneAnnotation+"=disabled"),
		"cm.yaml":    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e5, namespace: e5, " + off + "}\n",
		"local.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: never, namespace: e5, annotations: {config.kubernetes.io/local-config: 'true'}}\n",
		"more.yaml":  data("default", "e5-more", "git"),
	})
	r.applied(t)
	is(t, "configmap e5 -n e5", toolLabel, r.label("ConfigMap", "e5", "e5"))
	is(t, "configmap never -n e5", ".metadata.name", "absent")
	r.commit(t, map[string]string{"ns.yaml": "", "cm.yaml": ""})
	r.applied(t)
	for _, object := range []string{"namespace e5", "configmap e5 -n e5"} {
		is(t, object, toolLabel, "absent")
		is(t, object, ".metadata.deletionTimestamp", "absent")
	}
	allowed(t, "annotate configmap e5 -n e5 note=mine")
}

func undeclared(t *testing.T) {
	r := follow(t, system, "e7", map[string]string{"cm.yaml": data("e7", "e7", "git")}, deletes)
	r.says(t, "NamespaceNotFound", "cm.yaml:1: ConfigMap e7/e7: namespace e7 does not exist", "put its manifest into the repository")
	is(t, "namespace e7", ".metadata.name", "absent")
	platform := follow(t, system, "e7-spaces", map[string]string{"ns.yaml": namespace("e7")})
	platform.applied(t)
	r.applied(t)
	is(t, "configmap e7 -n e7", ".data.from", "git")
	r.deleted(t)
	is(t, "configmap e7 -n e7", ".metadata.name", "absent")
	is(t, "namespace e7", ".status.phase", "Active")
}

func targets(t *testing.T) {
	allowed(t, "create -f -", strings.Replace(namespace("e18-a"), "metadata:", "metadata:\n  labels: {team: shop}", 1)+"---\n"+
		strings.Replace(namespace("e18-b"), "metadata:", "metadata:\n  labels: {team: shop}", 1))
	into := func(target string) func(*v1alpha1.GitSyncSpec) {
		return func(spec *v1alpha1.GitSyncSpec) { spec.TargetNamespace = target }
	}
	cm := map[string]string{"cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e18}\ndata: {from: git}\n"}
	a := follow(t, system, "e18-a", cm, into("e18-a"), deletes)
	a.applied(t)
	is(t, "configmap e18 -n e18-b", ".metadata.name", "absent")
	b := follow(t, system, "e18-b", cm, into("e18-b"))
	b.applied(t)
	for _, ns := range []string{"e18-a", "e18-b"} {
		is(t, "configmap e18 -n "+ns, ".data.from", "git")
	}
	denied(t, "delete namespace e18-a")
	a.deleted(t)
	is(t, "configmap e18 -n e18-a", ".metadata.name", "absent")
	is(t, "configmap e18 -n e18-b", ".data.from", "git")
	allowed(t, "delete namespace e18-a --wait=false")
}
