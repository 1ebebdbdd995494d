// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"strings"
	"testing"

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

// lifecycle are the scenarios of conflicts, and of objects that come and go.
func lifecycle() []scenario {
	return []scenario{
		{
			id: "D3", when: "a second sync of the same rank declares an object that the first has", theirs: "the second reports an error, the object is not touched",
			try: func(t *testing.T) {
				commit(t, map[string]string{"e/ns.yaml": namespace("e"), "e/d3.yaml": dependent("d3", "")})
				version := live(t, "configmap d3 -n e", ".metadata.resourceVersion")
				gs := shared.GitSync(t)
				spec := *gs.Spec.DeepCopy()
				spec.Source.Path, spec.Policies = ".second", v1alpha1.Policies{}
				shared.Push(t, map[string]string{".second/d3.yaml": dependent("d3", "") + "data: {from: second}\n"})
				second := &v1alpha1.GitSync{Spec: spec}
				second.Namespace, second.Name = gs.Namespace, "second"
				world.Must(t, shared.Client.Create(t.Context(), second))
				t.Cleanup(func() {
					world.Must(t, shared.Client.Delete(world.Lasting(t), second))
				})
				const ready = `.status.conditions[?(@.type=="Ready")]`
				becomes(t, "gitsync second -n mainstay-system", ready+".reason", "Conflict")
				if message := live(t, "gitsync second -n mainstay-system", ready+".message"); !strings.Contains(message, "mainstay-system/shop at e/d3.yaml:1") {
					t.Errorf("%q does not name the other place", message)
				}
				is(t, "configmap d3 -n e", ".metadata.resourceVersion", version)
				is(t, "gitsync shop -n mainstay-system", ready+".status", "True")
			},
		},
		{
			id: "D7", when: "a sync has a name that is too long", theirs: "stalled, with a message",
			ours: "refused by the API server, with a message", why: "the kind's own schema says so, before anything is stored",
			try: func(t *testing.T) {
				name := strings.Repeat("x", 51)
				out, err := as(t, "alice", "apiVersion: mainstay.dev/v1alpha1\nkind: GitSync\nmetadata: {name: "+name+", namespace: mainstay-system}\n"+
					"spec: {source: {url: 'https://git.example/x.git', ref: {branch: main}}, enforcement: {mode: Observe}}\n", "create -f -")
				if err == nil || !strings.Contains(out, "at most 50 characters") {
					t.Errorf("%s", out)
				}
			},
		},
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
	}
}
