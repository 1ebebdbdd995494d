// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// zoo are kinds whose live form differs from what was applied although nobody
// changed anything: defaults in atomic lists, quantities, controllers that
// write into them.
const zoo = `apiVersion: batch/v1
kind: Job
metadata: {name: job, namespace: NS}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: busybox}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-aggregated}
aggregationRule:
  clusterRoleSelectors: [{matchLabels: {aggregate-to: NS}}]
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-part, labels: {aggregate-to: NS}}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np, namespace: NS}
spec:
  podSelector: {}
  ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rb, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: User, name: someone}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: sts, namespace: NS}
spec:
  serviceName: sts
  selector: {matchLabels: {app: sts}}
  template:
    metadata: {labels: {app: sts}}
    spec:
      containers:
      - name: c
        image: busybox
        resources: {requests: {cpu: 1000m, memory: 1024Mi}, limits: {cpu: "0.5e1"}}
      volumes:
      - name: token
        projected: {sources: [{serviceAccountToken: {path: token}}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}
---
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: NS}
stringData: {password: "hunter2"}
---
apiVersion: v1
kind: Service
metadata: {name: svc, namespace: NS}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.NS.example.org}
spec:
  group: NS.example.org
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              items:
                type: array
                items: {type: object, properties: {name: {type: string}, weight: {type: integer, default: 5}}}
---
apiVersion: NS.example.org/v1
kind: Gadget
metadata: {name: g, namespace: NS}
spec: {items: [{name: a}, {name: b, weight: 7}]}
`

// calm is how long nothing may be reverted. MAINSTAY_CALM makes it longer, for
// a release.
func calm(t *testing.T) time.Duration {
	t.Helper()
	if text := os.Getenv("MAINSTAY_CALM"); text != "" {
		d, err := time.ParseDuration(text)
		world.Must(t, err)
		return d
	}
	return 20 * time.Second
}

func TestNothingIsRevertedWhereNobodyChangesAnything(t *testing.T) {
	const ns = "zoo"
	app(t, ns, "zoo.yaml", zoo, "hpa.yaml", autoscaler)
	shared.Await(t, "the autoscaler has scaled", func() (bool, string) {
		d := web(t, ns)
		return *d.Spec.Replicas == 4, d.ResourceVersion
	})
	before := shared.GitSync(t).Status.Drift.Reverted24h
	marks := versions(t, ns)
	end := time.Now().Add(calm(t))
	for time.Now().Before(end) {
		if now := shared.GitSync(t).Status.Drift.Reverted24h; now != before {
			t.Fatalf("%d reverts\n%s", now-before, shared.Log())
		}
		time.Sleep(time.Second) // the passing of time is what is tested
	}
	if now := versions(t, ns); now != marks {
		t.Errorf("something was written all the while:\n%s\n%s", marks, now)
	}
}

// versions of objects that no controller writes to.
func versions(t *testing.T, ns string) string {
	t.Helper()
	out, err := shared.Kubectl(t, "admin", "", "-n", ns, "get", "services,secrets,networkpolicies,rolebindings,gadgets."+ns+".example.org",
		"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion}{"\n"}{end}`)
	world.Must(t, err)
	return out
}

func TestKilledInTheMiddleOfASyncItConverges(t *testing.T) {
	const ns, count = "killed", 500
	app(t, ns)
	mine := &corev1.ConfigMap{}
	mine.Namespace, mine.Name, mine.Data = ns, "mine", map[string]string{"whose": "alice's"}
	world.Must(t, shared.Client.Create(t.Context(), mine))

	objects := func(value string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm-%d, namespace: %s}\ndata: {key: %s}\n", i, ns, value)
		}
		return b.String()
	}
	for round, value := range []string{"one", "two", "three"} {
		shared.Push(t, map[string]string{ns + "/many.yaml": objects(value, count-round)})
		// Any moment will do: after the poll, during dry-run, apply or prune.
		time.Sleep(time.Second + rand.N(1500*time.Millisecond)) //nolint:gosec // a moment, not a secret
		world.Must(t, shared.Controller(t).Stop(t.Context(), 0))
		shared.Restart(t)
		shared.Applied(t)
		list := new(corev1.ConfigMapList)
		world.Must(t, shared.Client.List(t.Context(), list, client.InNamespace(ns), client.HasLabels{"mainstay.dev/sync"}))
		if len(list.Items) != count-round {
			t.Errorf("round %d: %d objects, want %d", round, len(list.Items), count-round)
		}
		for _, cm := range list.Items {
			if cm.Data["key"] != value {
				t.Errorf("round %d: %s has %q, want %q", round, cm.Name, cm.Data["key"], value)
			}
		}
	}
	shared.Removed(t, ns+"/many.yaml")
	list := new(corev1.ConfigMapList)
	world.Must(t, shared.Client.List(t.Context(), list, client.InNamespace(ns), client.HasLabels{"mainstay.dev/sync"}))
	if len(list.Items) != 0 {
		t.Errorf("%d objects were orphaned", len(list.Items))
	}
	after := new(corev1.ConfigMap)
	world.Must(t, shared.Client.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "mine"}, after))
	if after.ResourceVersion != mine.ResourceVersion {
		t.Error("what nobody declared was touched")
	}
}
