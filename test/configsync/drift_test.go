// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// toolLabel is the path of Mainstay's label.
const toolLabel = `.metadata.labels.mainstay\.dev/sync`

func configMap(name, label string, data ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: b\n", name)
	if label != "" {
		fmt.Fprintf(&b, "  labels: {%s: %s}\n", v1alpha1.SyncLabel, label)
	}
	for i, d := range data {
		if i == 0 {
			b.WriteString("data:\n")
		}
		key, value, _ := strings.Cut(d, "=")
		fmt.Fprintf(&b, "  %s: %q\n", key, value)
	}
	return b.String()
}

// labelOf is the label by which a GitSync of any name would have an object.
func labelOf(sync, kind, ns, name string) string {
	return ownership.LabelValue(types.NamespacedName{Namespace: "mainstay-system", Name: sync}, ownership.ID{Kind: kind, Namespace: ns, Name: name})
}

const (
	labelProvesNothing = "a label proves nothing: what git declares is in the inventory, and nothing is ever deleted for its label"
	bySideDoor         = "the webhook is away"
)

// sideDoor is what is done while the webhook is away, at once for all scenarios
// of it: each has objects of its own.
func sideDoor(t *testing.T) {
	t.Helper()
	files := map[string]string{"b/b13.yaml": namespace("b13") + "---\n" + strings.ReplaceAll(configMap("b13", "", "key=git"), "namespace: b", "namespace: b13")}
	for _, name := range []string{"b12", "b14", "b15", "b16", "b17"} {
		files["b/"+name+".yaml"] = configMap(name, "", "key=git")
	}
	commit(t, files)
	uid := live(t, "namespace b13", ".metadata.uid")
	withoutWebhook(t, func() {
		for _, line := range []string{
			"delete configmap b12 -n b",
			"delete namespace b13 --wait=false",
			"annotate configmap b14 -n b season=summer",
			`patch configmap b15 -n b --type=merge -p {"data":{"key":"theirs"}}`,
			`patch configmap b16 -n b --type=merge -p {"metadata":{"labels":{"mainstay.dev/sync":"garbage"}},"data":{"key":"theirs"}}`,
			`patch configmap b17 -n b --type=merge -p {"metadata":{"labels":{"mainstay.dev/sync":null}},"data":{"key":"theirs"}}`,
		} {
			allowed(t, line)
		}
	})
	// What is deleted takes its time to go, and is not what is made again.
	shared.Await(t, "the namespace is another one", func() (bool, string) {
		now := live(t, "namespace b13", ".metadata.uid")
		return now != "absent" && now != uid, now
	})
}

// drifts are the scenarios of the correction of drift.
func drifts() []scenario {
	var once sync.Once
	slip := func(t *testing.T) {
		t.Helper()
		once.Do(func() { sideDoor(t) })
	}
	return []scenario{
		{
			id: "B1", when: "a Namespace with full, fitting tool metadata that git does not declare", theirs: "deleted",
			ours: "kept, and the label is taken off", why: labelProvesNothing,
			try: func(t *testing.T) {
				commit(t, map[string]string{"b/ns.yaml": namespace("b"), "b/cm.yaml": configMap("cm", "")})
				allowed(t, "create -f -", labelled("b1", label("Namespace", "", "b1")))
				becomes(t, "namespace b1", toolLabel, "absent")
				is(t, "namespace b1", ".status.phase", "Active")
			},
		},
		{
			id: "B2–B5", when: "a Namespace with tool metadata of a GitSync that does not exist, without some of it, or of another object", theirs: "left alone",
			try: func(t *testing.T) {
				values := map[string]string{
					"b2": labelOf("nobody", "Namespace", "", "b2"), "b4": label("Namespace", "", "other"), "b5": "shop.wrong",
				}
				for name, value := range values {
					allowed(t, "create -f -", labelled(name, value))
				}
				pass(t)
				for name, value := range values {
					is(t, "namespace "+name, toolLabel, value)
				}
			},
		},
		{
			id: "B6–B10", when: "the same with ConfigMaps, of which git declares one", theirs: "the first deleted, the others left alone",
			ours: "the first kept, and its label taken off; the others left alone", why: labelProvesNothing,
			try: func(t *testing.T) {
				allowed(t, "create -f -", configMap("fits", label("ConfigMap", "b", "fits")))
				becomes(t, "configmap fits -n b", toolLabel, "absent")
				values := map[string]string{
					"other-id": label("ConfigMap", "b", "cm"), "other-sync": labelOf("nobody", "ConfigMap", "b", "other-sync"), "wrong": "shop.wrong",
				}
				for name, value := range values {
					allowed(t, "create -f -", configMap(name, value))
				}
				pass(t)
				for name, value := range values {
					is(t, "configmap "+name+" -n b", toolLabel, value)
				}
			},
		},
		{
			id: "B11", when: "the same with a kind of which git declares nothing", theirs: "left alone",
			try: func(t *testing.T) {
				value := label("LimitRange", "b", "x")
				allowed(t, "create -f -", "apiVersion: v1\nkind: LimitRange\nmetadata: {name: x, namespace: b, labels: {"+v1alpha1.SyncLabel+": "+value+"}}\nspec: {limits: []}\n")
				stays(t, "limitrange x -n b", toolLabel, value)
			},
		},
		{
			id: "B12", when: bySideDoor + "; a declared ConfigMap is deleted", theirs: "made again",
			try: func(t *testing.T) {
				slip(t)
				becomes(t, "configmap b12 -n b", ".data.key", "git")
			},
		},
		{
			id: "B13", when: bySideDoor + "; its Namespace is deleted", theirs: "made again",
			try: func(t *testing.T) {
				slip(t)
				becomes(t, "configmap b13 -n b13", ".data.key", "git")
				is(t, "namespace b13", ".status.phase", "Active")
			},
		},
		{
			id: "B14", when: bySideDoor + "; a person adds an annotation that git does not set", theirs: "kept",
			ours: "taken off; kept with `undeclared: Permit`, or if a service account adds it", why: "as A4",
			try: func(t *testing.T) {
				slip(t)
				becomes(t, "configmap b14 -n b", annotation("season"), "absent")
			},
		},
		{
			id: "B15", when: bySideDoor + "; a declared value is changed", theirs: "put back",
			try: func(t *testing.T) {
				slip(t)
				becomes(t, "configmap b15 -n b", ".data.key", "git")
			},
		},
		{
			id: "B16, B18", when: bySideDoor + "; one patch spoils the tool's metadata and a declared value", theirs: "both put back",
			try: func(t *testing.T) {
				slip(t)
				becomes(t, "configmap b16 -n b", ".data.key", "git")
				becomes(t, "configmap b16 -n b", toolLabel, label("ConfigMap", "b", "b16"))
			},
		},
		{
			id: "B17, B19", when: bySideDoor + "; one patch takes the tool's metadata off and changes a declared value", theirs: "both put back",
			try: func(t *testing.T) {
				slip(t)
				becomes(t, "configmap b17 -n b", ".data.key", "git")
				becomes(t, "configmap b17 -n b", toolLabel, label("ConfigMap", "b", "b17"))
			},
		},
		{
			id: "B20", when: "somebody changes a declared field again and again, of a kind that no webhook sees", theirs: "an error that names a fight, and a metric; both end when it ends; corrected at the same pace",
			ours:  "the condition Drifted with the reason Fight, which names both sides, an Event and a metric; they end when it ends; corrected at a slower and slower pace",
			why:   "a fight at full speed costs the API server more than it brings",
			apart: true, try: fight,
		},
	}
}

func fight(t *testing.T) {
	const object, drifted = "validatingwebhookconfiguration b20", `.status.conditions[?(@.type=="Drifted")].reason`
	r := follow(t, system, "b20", map[string]string{"b20.yaml": "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: b20, annotations: {foo: bar}}\nwebhooks: []\n"})
	r.applied(t)
	shared.Await(t, "the fight is named", func() (bool, string) {
		if live(t, object, annotation("foo")) == "bar" {
			allowed(t, "annotate "+object+" --overwrite foo=baz")
		}
		reason := live(t, r.object(), drifted)
		return reason == "Fight", reason
	})
	message := live(t, r.object(), `.status.conditions[?(@.type=="Drifted")].message`)
	for _, word := range []string{"kubectl", "mainstay fight about", `metadata.annotations.foo`} {
		if !strings.Contains(message, word) {
			t.Errorf("%q does not say %q", message, word)
		}
	}
	start := time.Now()
	becomes(t, object, annotation("foo"), "bar")
	becomes(t, r.object(), drifted, "AsGitSays")
	t.Logf("over after %s", time.Since(start).Round(time.Second))
}
