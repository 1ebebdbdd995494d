// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/test/world"
)

const role = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: a9}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, list, create]}
`

// label is the ownership label of an object of the core group.
func label(kind, ns, name string) string {
	key := types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}
	return ownership.LabelValue(key, ownership.ID{Kind: kind, Namespace: ns, Name: name})
}

// labelled is the manifest of a Namespace that carries Mainstay's label.
func labelled(name, label string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n  labels: {%s: %s}\n", name, v1alpha1.SyncLabel, label)
}

// permissive is a GitSync that lets everybody set what git does not.
func permissive(t *testing.T) {
	t.Helper()
	gs := shared.GitSync(t)
	spec := *gs.Spec.DeepCopy()
	spec.Source.Path = ".permissive"
	spec.Enforcement.Undeclared = v1alpha1.UndeclaredPermit
	spec.Policies = v1alpha1.Policies{}
	shared.Push(t, map[string]string{".permissive/ns.yaml": namespace("a4", "goodbye=moon")})
	second := &v1alpha1.GitSync{Spec: spec}
	second.Namespace, second.Name = gs.Namespace, "permissive"
	world.Must(t, shared.Client.Create(t.Context(), second))
	t.Cleanup(func() { world.Must(t, client.IgnoreNotFound(shared.Client.Delete(world.Lasting(t), second))) })
	becomes(t, "namespace a4", annotation("goodbye"), "moon")
	becomes(t, "gitsync permissive -n mainstay-system", `.status.conditions[?(@.type=="Ready")].status`, "True")
}

// admission are the scenarios of the admission webhook.
func admission() []scenario {
	return []scenario{
		{
			id: "A1", when: "a declared Namespace; a person deletes it", theirs: "denied",
			try: func(t *testing.T) {
				commit(t, map[string]string{"a/ns.yaml": namespace("a1", "goodbye=moon")})
				denied(t, "delete namespace a1")
				is(t, "namespace a1", ".metadata.deletionTimestamp", "absent")
			},
		},
		{
			id: "A2", when: "a person changes its annotation", theirs: "denied",
			try: func(t *testing.T) {
				denied(t, "annotate namespace a1 --overwrite goodbye=world")
				is(t, "namespace a1", annotation("goodbye"), "moon")
			},
		},
		{
			id: "A3", when: "a person removes its annotation", theirs: "denied",
			try: func(t *testing.T) {
				denied(t, "annotate namespace a1 goodbye-")
				is(t, "namespace a1", annotation("goodbye"), "moon")
			},
		},
		{
			id: "A4–A6", when: "a person adds, changes, removes an annotation that git does not set", theirs: "allowed",
			ours: "denied; allowed with `undeclared: Permit`",
			why:  "an added sidecar or environment variable is the same kind of change; `RejectPeople` is the default, and one field changes it",
			try: func(t *testing.T) {
				denied(t, "annotate namespace a1 stop=go")
				permissive(t)
				allowed(t, "annotate namespace a4 stop=go")
				allowed(t, "annotate namespace a4 --overwrite stop=oh-no")
				is(t, "namespace a4", annotation("stop"), "oh-no")
				allowed(t, "annotate namespace a4 stop-")
				denied(t, "annotate namespace a4 --overwrite goodbye=world")
			},
		},
		{
			id: "A7", when: "a person creates a Namespace with tool metadata that fits it, which git does not declare", theirs: "denied",
			ours: "allowed, and the label is taken off",
			why:  "the inventory says what git declares, not a label: the object is neither held nor pruned",
			try: func(t *testing.T) {
				allowed(t, "apply -f -", labelled("a7", label("Namespace", "", "a7")))
				becomes(t, "namespace a7", `.metadata.labels.mainstay\.dev/sync`, "absent")
				allowed(t, "annotate namespace a7 note=x")
				stays(t, "namespace a7", annotation("note"), "x")
				allowed(t, "delete namespace a7 --wait=false")
			},
		},
		{
			id: "A8", when: "… with tool metadata of another object; then deletes it", theirs: "allowed, and left alone",
			try: func(t *testing.T) {
				value := label("Namespace", "", "a1")
				allowed(t, "apply -f -", labelled("a8", value))
				stays(t, "namespace a8", `.metadata.labels.mainstay\.dev/sync`, value)
				allowed(t, "delete namespace a8 --wait=false")
			},
		},
		{
			id: "A9", when: "a declared ClusterRole; a person changes its rules", theirs: "denied, rules unchanged",
			try: func(t *testing.T) {
				commit(t, map[string]string{"a/role.yaml": role})
				denied(t, `patch clusterrole a9 --type=merge -p={"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]}`)
				is(t, "clusterrole a9", ".rules[0].verbs", `["get","list","create"]`)
			},
		},
		{
			id: "A10", when: "a person replaces it by a manifest without tool metadata", theirs: "denied",
			try: func(t *testing.T) {
				denied(t, "replace -f -", role)
				is(t, "clusterrole a9", `.metadata.annotations.kubectl\.kubernetes\.io/last-applied-configuration`, "absent")
			},
		},
		{
			id: "A11", when: "a declared ConfigMap; a person deletes it, or its Namespace", theirs: "both denied",
			try: func(t *testing.T) {
				commit(t, map[string]string{
					"a/bookstore.yaml": namespace("a11"),
					"a/cm.yaml":        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm-1, namespace: a11}\n",
				})
				denied(t, "delete configmap cm-1 -n a11")
				denied(t, "delete namespace a11")
				is(t, "configmap cm-1 -n a11", ".metadata.deletionTimestamp", "absent")
			},
		},
		{
			id: "A12", when: "git sets season=summer; a person sets winter", theirs: "denied",
			try: func(t *testing.T) {
				commit(t, map[string]string{"a/a12.yaml": namespace("a12", "season=summer")})
				denied(t, "annotate namespace a12 --overwrite season=winter")
			},
		},
		{
			id: "A13", when: "a person overwrites the tool's metadata", theirs: "denied",
			try: func(t *testing.T) {
				denied(t, "label namespace a12 --overwrite mainstay.dev/sync="+label("Namespace", "", "a1"))
				denied(t, "annotate namespace a12 mainstay.dev/anything=x")
			},
		},
		{
			id: "A14", when: "a person removes the declared annotation, or the tool's metadata", theirs: "both denied",
			try: func(t *testing.T) {
				denied(t, "annotate namespace a12 season-")
				denied(t, "label namespace a12 mainstay.dev/sync-")
				is(t, "namespace a12", `.metadata.labels.mainstay\.dev/sync`, label("Namespace", "", "a12"))
			},
		},
		{
			id: "A15", when: "a person sets the marker that has changes ignored on a live object", theirs: "denied: only git may",
			try: func(t *testing.T) {
				denied(t, "annotate namespace a12 mainstay.dev/mode=Audit")
			},
		},
		{
			id: "A16", when: "git has changes ignored; a person deletes the object", theirs: "denied",
			try: func(t *testing.T) {
				ignore(t, "a16")
				commit(t, map[string]string{"a/a16.yaml": namespace("a16", "foo=bar")})
				denied(t, "delete namespace a16")
			},
		},
		{
			id: "A17", when: "… a person changes it", theirs: "allowed, and kept",
			try: func(t *testing.T) {
				allowed(t, "annotate namespace a16 --overwrite foo=baz")
				stays(t, "namespace a16", annotation("foo"), "baz")
			},
		},
		{
			id: "A18", when: "the webhook's registration is removed; a person deletes an object", theirs: "that turns prevention off; allowed, and made again",
			ours: "registered again within a second, and denied; in the gap, or with `mainstay-off`, allowed, and made again",
			why:  "whoever may delete a configuration may not thereby switch the protection off; `mainstay-off` is the switch, with a reason and an end",
			try: func(t *testing.T) {
				allowed(t, "delete validatingwebhookconfigurations -l app.kubernetes.io/name=mainstay")
				shared.Await(t, "the webhook is registered again", func() (bool, string) {
					out, err := as(t, "alice", "", "delete configmap cm-1 -n a11 --dry-run=server")
					return err != nil && strings.Contains(out, "denied the request"), out
				})
				uid := live(t, "configmap cm-1 -n a11", ".metadata.uid")
				withoutWebhook(t, func() { allowed(t, "delete configmap cm-1 -n a11") })
				shared.Await(t, "the object is there again", func() (bool, string) {
					now := live(t, "configmap cm-1 -n a11", ".metadata.uid")
					return now != uid && now != "absent", now
				})
			},
		},
	}
}

// ignore has the GitSync permit every change to Namespaces of these names. It
// replaces what was ignored before.
func ignore(t *testing.T, names ...string) {
	t.Helper()
	gs := shared.GitSync(t)
	before := gs.DeepCopy()
	gs.Spec.Policies.Exceptions = nil
	gs.Spec.Adopt = v1alpha1.AdoptForce // as theirs takes everything over
	if len(names) > 0 {
		gs.Spec.Policies.Exceptions = []v1alpha1.Exception{
			{Kinds: []string{"Namespace"}, Names: names, Paths: []string{"**"}, Reason: "whatever becomes of it"},
		}
	}
	world.Must(t, shared.Client.Patch(t.Context(), gs, client.MergeFrom(before)))
	shared.Await(t, "the exceptions are in force", func() (bool, string) {
		now := shared.GitSync(t)
		for _, c := range now.Status.Conditions {
			if c.Type == v1alpha1.ConditionPoliciesReady {
				return c.ObservedGeneration == now.Generation && c.Status == "True", c.Message
			}
		}
		return false, "no condition"
	})
}
