// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"encoding/json"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// itself are the scenarios in which the tool's own objects are changed.
func itself() []scenario {
	return []scenario{
		{
			id: "E20", when: "a person changes the tool's own Deployment: a field that the tool sets, one that it does not; then deletes it", theirs: "put back, kept; made again",
			ours: "where a sync declares it: allowed, and put back; taken off; made again", why: "nothing is refused in Mainstay's own namespace, so that a bad release can be mended by hand (suspend the sync first); else as A4",
			apart: true, try: deployment,
		},
		{
			id: "E21", when: "a sync is declared in its own repository; then git drops it", theirs: "an error",
			ours: "held like any object, and changed by commits; let go of when git drops it, and it goes on", why: "a commit that removes a file must not end the enforcement of all others: whoever means that deletes the GitSync",
			apart: true, try: self,
		},
	}
}

func deployment(t *testing.T) {
	const object = "deployment e20 -n " + system
	r := follow(t, system, "e20", map[string]string{"deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: e20, namespace: mainstay-system}
spec:
  replicas: 1
  selector: {matchLabels: {app: e20}}
  template:
    metadata: {labels: {app: e20}}
    spec: {containers: [{name: mainstay, image: registry.example/mainstay}]}
`})
	r.applied(t)
	uid := live(t, object, ".metadata.uid")
	allowed(t, "scale "+object+" --replicas=3")
	becomes(t, object, ".spec.replicas", "1")
	allowed(t, "patch "+object+` --type=merge -p={"spec":{"template":{"spec":{"tolerations":[{"key":"a","operator":"Exists"}]}}}}`)
	becomes(t, object, ".spec.template.spec.tolerations", "absent")
	allowed(t, "delete "+object)
	shared.Await(t, "the Deployment is there again", func() (bool, string) {
		now := live(t, object, ".metadata.uid")
		return now != "absent" && now != uid, now
	})
}

func self(t *testing.T) {
	r := newRepository(t, system, "e21", map[string]string{"cm.yaml": data("default", "e21", "git")})
	gs := &v1alpha1.GitSync{Spec: r.spec()}
	gs.APIVersion, gs.Kind, gs.Namespace, gs.Name = v1alpha1.GroupVersion.String(), "GitSync", r.sync.Namespace, r.sync.Name
	manifest := func() string {
		declared, err := json.Marshal(map[string]any{
			"apiVersion": gs.APIVersion, "kind": gs.Kind, "metadata": map[string]string{"name": gs.Name, "namespace": gs.Namespace}, "spec": gs.Spec,
		})
		world.Must(t, err)
		return string(declared)
	}
	allowed(t, "create -f -", manifest())
	r.applied(t)
	r.commit(t, map[string]string{"self.json": manifest()})
	r.applied(t)
	denied(t, "patch "+r.object()+` --type=merge -p={"spec":{"prune":false}}`)

	gs.Spec.Contact = "#e21"
	r.commit(t, map[string]string{"self.json": manifest()})
	r.applied(t)
	becomes(t, r.object(), ".spec.contact", "#e21")
	r.says(t, "Applied")

	r.commit(t, map[string]string{"self.json": ""})
	r.applied(t)
	is(t, r.object(), toolLabel, "absent")
	is(t, r.object(), ".metadata.deletionTimestamp", "absent")
	r.commit(t, map[string]string{"cm.yaml": data("default", "e21", "anew")})
	r.applied(t)
	is(t, "configmap e21 -n default", ".data.from", "anew")
	allowed(t, "delete "+r.object())
}
