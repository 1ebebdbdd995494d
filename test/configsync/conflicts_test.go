// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// conflicts are the scenarios of objects that two declare, or that exist.
func conflicts() []scenario {
	return []scenario{
		{
			id: "D1", when: "a sync of the platform has an object; one of a namespace declares it as well; the first drops it",
			theirs: "the second reports a conflict, the object stays the first's; then it becomes the second's", apart: true, try: platformFirst,
		},
		{
			id: "D2", when: "a sync of a namespace has an object; one of the platform declares it as well; the namespace's drops it",
			theirs: "the platform's takes it over, the other reports a conflict; nothing is deleted", apart: true, try: namespaceFirst,
		},
		{
			id: "D3", when: "a second sync of the same rank declares an object that the first has", theirs: "the second reports an error, the object is not touched",
			try: func(t *testing.T) {
				commit(t, map[string]string{"e/ns.yaml": namespace("e"), "e/d3.yaml": dependent("d3", "")})
				version := live(t, "configmap d3 -n e", ".metadata.resourceVersion")
				two := follow(t, system, "d3", map[string]string{"d3.yaml": dependent("d3", "") + "data: {from: second}\n"})
				two.says(t, "Conflict", "mainstay-system/shop at e/d3.yaml:1")
				is(t, "configmap d3 -n e", ".metadata.resourceVersion", version)
				is(t, "gitsync shop -n mainstay-system", ready+".status", "True")
			},
		},
		{
			id: "D3b, D4", when: bySideDoor + "; a second sync declares an object that another of its rank has, of the platform or of a namespace; then the first drops it",
			theirs: "the platform's take it from each other again and again, and both report a conflict; of a namespace's the second alone does, and the object is not touched; then it is the second's",
			ours:   "the second alone reports a conflict, and the object is not touched; then it is the second's", why: "whose an object is, is in the inventory: it needs no webhook for that",
			try: equals,
		},
		{
			id: "D5", when: "objects of one sync are in a namespace that another declares, which drops it; then the first declares it",
			theirs: "both report conflicts, as the namespace is in use; adopted only with `deletion: detach`",
			ours:   "it waits for a confirmation that names the objects; then it is handed over, and nothing is deleted", why: "what moves between two repositories is not deleted in one to be made in the other",
			apart: true, try: namespaceMoves,
		},
		{
			id: "D6", when: "a ClusterRole that somebody applied exists, with more verbs, labels and annotations; git declares it", theirs: "taken over: git's verbs, the metadata of both",
			ours: "the same, once somebody accepts what would change", why: "what runs is not changed by declaring it",
			apart: true, try: applied,
		},
		{
			id: "D7", when: "a sync has a name that is too long, or is in a namespace where one of its kind may not be", theirs: "stalled, with a message",
			ours: "refused by the API server, with a message; outside of Mainstay's namespace it needs an account of that namespace", why: "the kind's own schema says so, before anything is stored",
			apart: true, try: invalid,
		},
	}
}

func platformFirst(t *testing.T) {
	const object = "configmap d1 -n d1"
	platform := follow(t, system, "d1", map[string]string{"team.yaml": deployer("d1"), "cm.yaml": data("d1", "d1", "platform")})
	platform.applied(t)
	version := live(t, object, ".metadata.resourceVersion")
	team := follow(t, "d1", "team", map[string]string{"cm.yaml": data("d1", "d1", "team")})
	team.says(t, "Conflict", "cm.yaml:1", "mainstay-system/d1 at cm.yaml:1")
	is(t, object, ".metadata.resourceVersion", version)
	is(t, platform.object(), ready+".status", "True")

	platform.commit(t, map[string]string{"cm.yaml": ""})
	becomes(t, object, ".data.from", "team")
	is(t, object, toolLabel, team.label("ConfigMap", "d1", "d1"))
	platform.applied(t)
	team.says(t, "Applied")
}

func namespaceFirst(t *testing.T) {
	const object = "configmap d2 -n d2"
	platform := follow(t, system, "d2", map[string]string{"team.yaml": deployer("d2")})
	platform.applied(t)
	team := follow(t, "d2", "team", map[string]string{"cm.yaml": data("d2", "d2", "team"), "own.yaml": data("d2", "own", "team")})
	team.applied(t)
	uid := live(t, object, ".metadata.uid")

	platform.commit(t, map[string]string{"cm.yaml": data("d2", "d2", "platform")})
	platform.applied(t)
	is(t, object, ".data.from", "platform")
	is(t, object, toolLabel, platform.label("ConfigMap", "d2", "d2"))
	team.commit(t, map[string]string{"own.yaml": data("d2", "own", "anew")})
	team.says(t, "Conflict", "cm.yaml:1", "mainstay-system/d2 at cm.yaml:1")
	is(t, object, ".data.from", "platform")

	team.commit(t, map[string]string{"cm.yaml": ""})
	team.applied(t)
	is(t, object, ".metadata.uid", uid)
	is(t, object, ".data.from", "platform")
	is(t, "configmap own -n d2", ".data.from", "anew")
}

func equals(t *testing.T) {
	const platforms, teams = "configmap d3b -n d4", "configmap d4 -n d4"
	// Of each pair the one after the other.
	var pairs [2][2]*repository
	pairs[0][0] = follow(t, system, "d3b-one", map[string]string{"team.yaml": deployer("d4"), "cm.yaml": data("d4", "d3b", "one")})
	pairs[0][0].applied(t)
	pairs[1][0] = follow(t, "d4", "one", map[string]string{"cm.yaml": data("d4", "d4", "one"), "own.yaml": data("d4", "own", "one")})
	pairs[1][0].applied(t)
	versions := [2]string{live(t, platforms, ".metadata.resourceVersion"), live(t, teams, ".metadata.resourceVersion")}
	withoutWebhook(t, func() {
		pairs[0][1] = follow(t, system, "d3b-two", map[string]string{"cm.yaml": data("d4", "d3b", "two")})
		pairs[1][1] = follow(t, "d4", "two", map[string]string{"cm.yaml": data("d4", "d4", "two")})
	})
	for i, object := range []string{platforms, teams} {
		one, two := pairs[i][0], pairs[i][1]
		two.says(t, "Conflict", one.sync.String()+" at cm.yaml:1")
		is(t, object, ".metadata.resourceVersion", versions[i])
		is(t, one.object(), ready+".status", "True")
		one.commit(t, map[string]string{"cm.yaml": ""})
		becomes(t, object, ".data.from", "two")
		is(t, object, toolLabel, two.label("ConfigMap", "d4", object[len("configmap "):len(object)-len(" -n d4")]))
	}
}

func namespaceMoves(t *testing.T) {
	holder := follow(t, system, "d5-holder", map[string]string{"ns.yaml": namespace("d5"), "more.yaml": namespace("d5-more")})
	holder.applied(t)
	user := follow(t, system, "d5-user", map[string]string{"cm.yaml": data("d5", "d5", "user")})
	user.applied(t)
	uid := live(t, "namespace d5", ".metadata.uid")

	holder.commit(t, map[string]string{"ns.yaml": ""})
	holder.says(t, "PrunePending", "ConfigMap d5/d5 with Namespace d5")
	is(t, "namespace d5", ".status.phase", "Active")

	user.commit(t, map[string]string{"ns.yaml": namespace("d5")})
	user.applied(t)
	holder.applied(t)
	is(t, "namespace d5", ".metadata.uid", uid)
	is(t, "namespace d5", toolLabel, user.label("Namespace", "", "d5"))
	is(t, "configmap d5 -n d5", ".data.from", "user")
}

func applied(t *testing.T) {
	const object = "clusterrole d6"
	role := func(metadata, verbs string) string {
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: d6, " + metadata + "}\nrules: [{apiGroups: [''], resources: [pods], verbs: [" + verbs + "]}]\n"
	}
	allowed(t, "apply -f -", role("labels: {was: there}, annotations: {was: here}", "get, list"))
	r := follow(t, system, "d6", map[string]string{"role.yaml": role("labels: {is: there}, annotations: {is: here}", "get")})
	r.says(t, "AdoptionPending", "role.yaml:1", "rules git: ", r.head(t))
	is(t, object, ".rules[*].verbs", `["get","list"]`)

	r.annotate(t, v1alpha1.AdoptAnnotation, r.head(t))
	r.applied(t)
	is(t, object, ".rules[*].verbs", `["get"]`)
	for _, field := range []string{"labels", "annotations"} {
		is(t, object, ".metadata."+field+".was", map[string]string{"labels": "there", "annotations": "here"}[field])
		is(t, object, ".metadata."+field+".is", map[string]string{"labels": "there", "annotations": "here"}[field])
	}
}

func invalid(t *testing.T) {
	gitSync := func(ns, name string) string {
		return "apiVersion: mainstay.dev/v1alpha1\nkind: GitSync\nmetadata: {name: " + name + ", namespace: " + ns + "}\n" +
			"spec: {source: {url: 'https://git.example/x.git', ref: {branch: main}}, enforcement: {mode: Observe}}\n"
	}
	for _, tt := range []struct{ manifest, words string }{
		{gitSync(system, strings.Repeat("x", 51)), "at most 50 characters"},
		{gitSync("default", "d7"), "spec.serviceAccountName is required outside of mainstay-system"},
	} {
		if out, err := as(t, "alice", tt.manifest, "create -f -"); err == nil || !strings.Contains(out, tt.words) {
			t.Errorf("%q does not say %q", out, tt.words)
		}
	}
}
