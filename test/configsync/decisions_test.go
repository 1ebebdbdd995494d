// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"strings"
	"testing"
)

// The accounts of the decisions: Mainstay's own, which is their root
// reconciler, and one that a tenant's GitSync would write with, which is their
// namespace reconciler. Both are impersonated here, as anyone with the right
// can; the content decides, not the name.
const (
	root   = "system:serviceaccount:mainstay-system:mainstay"
	tenant = "system:serviceaccount:v:deployer"
)

const (
	cm      = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, namespace: v}\ndata: {a: \"1\"}\n"
	foreign = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: free, namespace: v}\ndata: {a: \"1\"}\n"
)

// decisions are the cases of their webhook's decision table.
func decisions() []scenario {
	return []scenario{
		{
			id: "V1", when: "the root reconciler deletes an object that it manages", theirs: "allowed",
			ours: "denied, unless git no longer declares it",
			why:  "an account can be impersonated: what is trusted is the content, and that an object is marked as leaving git",
			try: func(t *testing.T) {
				commit(t, map[string]string{
					"v/ns.yaml": namespace("v"), "v/cm.yaml": cm,
					"v/leaves.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: leaves, namespace: v}\n",
				})
				deniedAs(t, root, "delete configmap held -n v")
				commit(t, map[string]string{"v/leaves.yaml": ""})
				becomes(t, "configmap leaves -n v", ".metadata.name", "absent")
			},
		},
		{
			id: "V2", when: "the root reconciler deletes an object that a namespace reconciler manages; a namespace reconciler deletes another's", theirs: "denied",
			try: func(t *testing.T) {
				allowedAs(t, "admin", "create clusterrolebinding v-deployer --clusterrole=cluster-admin --serviceaccount=v:deployer")
				deniedAs(t, tenant, "delete configmap held -n v")
			},
		},
		{
			id: "V3", when: "a reconciler writes what git says", theirs: "allowed, as it is the manager",
			try: func(t *testing.T) {
				for _, user := range []string{root, tenant} {
					allowedAs(t, user, "apply --server-side --force-conflicts -f -", cm)
				}
			},
		},
		{
			id: "V4", when: "a reconciler writes something else", theirs: "allowed, as it is the manager",
			ours: "denied",
			why:  "an account can be impersonated: the content is what is trusted",
			try: func(t *testing.T) {
				for _, user := range []string{root, tenant} {
					deniedAs(t, user, `patch configmap held -n v --type=merge -p={"data":{"a":"2"}}`)
				}
				is(t, "configmap held -n v", ".data.a", "1")
			},
		},
		{
			id: "V5", when: "a person creates, changes, deletes an object without ownership metadata", theirs: "allowed",
			try: func(t *testing.T) {
				allowed(t, "create -f -", foreign)
				allowed(t, `patch configmap free -n v --type=merge -p={"data":{"a":"2"}}`)
				allowed(t, "delete configmap free -n v")
			},
		},
		{
			id: "V6", when: "… with only a part of it, or that of another object", theirs: "allowed",
			try: func(t *testing.T) {
				allowed(t, "create -f -", foreign)
				allowed(t, "label configmap free -n v mainstay.dev/sync=shop")
				allowed(t, "label configmap free -n v --overwrite mainstay.dev/sync="+label("ConfigMap", "v", "held"))
				allowed(t, "annotate configmap free -n v mainstay.dev/mode=Audit")
				allowed(t, `patch configmap free -n v --type=merge -p={"data":{"a":"2"}}`)
				allowed(t, "delete configmap free -n v")
			},
		},
		{
			id: "V7", when: "a person creates a managed object", theirs: "denied",
			ours: "denied where it is not what git says",
			why:  "what equals git is not drift, whoever writes it",
			try: func(t *testing.T) {
				// It exists, which the API server says after the webhook was asked.
				out, err := as(t, "alice", cm, "create -f -")
				if err == nil || !strings.Contains(out, "already exists") {
					t.Errorf("as git says: %q", out)
				}
				denied(t, "create -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, namespace: v}\ndata: {a: \"2\"}\n")
			},
		},
		{
			id: "V8", when: "a person deletes a managed object", theirs: "denied",
			try: func(t *testing.T) { denied(t, "delete configmap held -n v") },
		},
		{
			id: "V9", when: "a person changes a field that git sets", theirs: "denied",
			try: func(t *testing.T) { denied(t, `patch configmap held -n v --type=merge -p={"data":{"a":"2"}}`) },
		},
		{
			id: "V10", when: "a person changes a field that git does not set", theirs: "allowed",
			ours: "denied; allowed with `undeclared: Permit`, and for service accounts", why: "as A4",
			try: func(t *testing.T) {
				denied(t, `patch configmap held -n v --type=merge -p={"data":{"b":"2"}}`)
				allowedAs(t, "system:serviceaccount:kube-system:generic-garbage-collector", "annotate configmap held -n v --dry-run=server note=x")
			},
		},
		{
			id: "V11", when: "a person changes the tool's metadata of a managed object", theirs: "denied",
			try: func(t *testing.T) {
				denied(t, "annotate configmap held -n v mainstay.dev/x=y")
				denied(t, "label configmap held -n v mainstay.dev/sync-")
			},
		},
		{
			id: "V12", when: "a person sets or changes the lifecycle annotation of a managed object; of one that is not", theirs: "denied; allowed",
			try: func(t *testing.T) {
				denied(t, "annotate configmap held -n v mainstay.dev/mode=Warn")
				allowed(t, "create -f -", foreign)
				allowed(t, "annotate configmap free -n v mainstay.dev/mode=Warn")
				allowed(t, "annotate configmap free -n v --overwrite mainstay.dev/mode=Audit")
				allowed(t, "delete configmap free -n v")
			},
		},
		{
			id: "V13", when: "a person changes or deletes the tool's inventory", theirs: "denied",
			try: func(t *testing.T) {
				denied(t, "delete inventory shop -n mainstay-system")
				denied(t, "annotate inventory shop -n mainstay-system a=b")
			},
		},
		{
			id: "V14", when: "a person changes an inventory that is not the tool's", theirs: "allowed",
			ours: "denied", why: "the kind is Mainstay's alone; other tools' inventories are other kinds and are not looked at",
			try: func(t *testing.T) {
				denied(t, "create -f -", "apiVersion: mainstay.dev/v1alpha1\nkind: Inventory\nmetadata: {name: mine, namespace: v}\ndata: {generation: 1, objects: 0, head: \"{}\", seal: x}\n")
			},
		},
	}
}

// fieldsMatrix are the cases by which their comparison of fields is tested.
func fieldsMatrix() []scenario {
	const object = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: f, namespace: v, labels: {this: that, here: there}}\nrules:\n" +
		"- {apiGroups: [\"\"], resources: [pods], verbs: [get, list]}\n- {apiGroups: [\"\"], resources: [services], verbs: [get]}\n"
	patch := func(p string) string { return "patch role f -n v --type=merge -p=" + p }
	return []scenario{
		{
			id: "F1", when: "nothing is changed", theirs: "no difference",
			try: func(t *testing.T) {
				commit(t, map[string]string{"v/role.yaml": object})
				allowed(t, patch(`{"metadata":{"labels":{"this":"that"}}}`))
				allowed(t, "apply -f -", object)
			},
		},
		{
			id: "F2", when: "a label is added", theirs: "an added field, allowed", ours: "an added field, denied to people", why: "as A4",
			try: func(t *testing.T) { denied(t, "label role f -n v new=label") },
		},
		{
			id: "F3", when: "a label that git sets is changed, or removed", theirs: "denied",
			try: func(t *testing.T) {
				denied(t, "label role f -n v --overwrite this=other")
				denied(t, "label role f -n v here-")
			},
		},
		{
			id: "F4", when: "a rule is added, changed, removed in a list without keys", theirs: "denied: the list is one field",
			try: func(t *testing.T) {
				denied(t, `patch role f -n v --type=json -p=[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}}]`)
				denied(t, `patch role f -n v --type=json -p=[{"op":"replace","path":"/rules/1/verbs","value":["get","delete"]}]`)
				denied(t, `patch role f -n v --type=json -p=[{"op":"remove","path":"/rules/1"}]`)
				is(t, "role f -n v", ".rules[*].resources[0]", "pods services")
			},
		},
	}
}
