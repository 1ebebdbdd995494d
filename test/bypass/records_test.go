// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/test/world"
)

const onlyMainstay = "only Mainstay itself writes it"

// records are about what Mainstay itself writes.
func records() []*row {
	secret := func(kind string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: NS, namespace: mainstay-system, labels: {mainstay.dev/permit: \"true\"}}\ntype: mainstay.dev/" + kind +
			"\nstringData: {record: '{}', entries: '', seal: '00'}\n"
	}
	return []*row{
		{
			id:     "3c records",
			threat: "Mainstay's records forged: a permit, a piece of the inventory, its key",
			how:    "create, edit and delete of Secrets of Mainstay's types and of the Inventory, as alice and as system:masters",
			want:   refused,
			try: func(a *attempt) {
				for _, user := range []string{"alice", "admin"} {
					for _, kind := range []string{"permit", "inventory", "key"} {
						a.refusedFor(user, secret(kind), tries{"-n mainstay-system create -f -": onlyMainstay})
					}
					a.refusedFor(user, "", tries{
						"-n mainstay-system delete secret mainstay-key":                                               onlyMainstay,
						"-n mainstay-system label secret mainstay-key a=b":                                            onlyMainstay,
						"-n mainstay-system delete inventory shop":                                                    onlyMainstay,
						`-n mainstay-system patch inventory shop --type=merge -p={"data":{"objects":0,"chunks":[]}}`:  onlyMainstay,
						"-n mainstay-system delete secrets --field-selector=type=mainstay.dev/inventory":              onlyMainstay,
						"delete --raw /api/v1/namespaces/mainstay-system/secrets?fieldSelector=type=mainstay.dev/key": onlyMainstay,
					})
				}
			},
		},
		{
			id:      "3c records impersonated",
			threat:  "the same by an impersonator of Mainstay's account, for whom that door is open",
			how:     "a permit without its seal for the image; then the edit",
			want:    ignored,
			because: "a record counts by its seal, which takes Mainstay's key",
			try: func(a *attempt) {
				a.must("alice", secret("permit"), "--as="+account+" -n mainstay-system create -f -")
				a.Cleanup(func() { a.must("alice", "", "--as="+account+" -n mainstay-system delete secret NS") })
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
			},
		},
		{
			id:      "3c inventory impersonated",
			threat:  "an emptied inventory, written by an impersonator of Mainstay's account",
			how:     "its list emptied with a higher generation; then edits, a restart of Mainstay, and edits again",
			want:    ignored,
			because: "without its seal it does not count: the last good one is in force, and after a restart everything with the label is locked until git was read",
			alone:   true,
			try: func(a *attempt) {
				a.must("alice", "", `--as=`+account+` -n mainstay-system patch inventory shop --type=merge -p={"data":{"generation":999999,"objects":0,"chunks":[]}}`)
				edits := tries{
					"set image deployment/web web=nginx:1.28": "is held by git",
					"delete deployment web":                   "is held by git",
				}
				a.refused(edits)
				world.Must(a.T, shared.Controller(a.T).Stop(a.Context(), 5*time.Second))
				shared.Restart(a.T)
				a.refused(edits)
				shared.Pushed(a.T, map[string]string{a.namespace + "/more.yaml": in(a.namespace, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more, namespace: NS}\n")})
				a.refused(edits)
			},
		},
		{
			id:      "3c mainstay-off",
			threat:  "the way out, taken by who may not",
			how:     "the ConfigMap mainstay-off made and edited by someone who may edit every other namespace",
			want:    refused,
			because: "it takes the right to make ConfigMaps in Mainstay's namespace",
			try: func(a *attempt) {
				a.must("admin", "", "create rolebinding edit --clusterrole=edit --user=NS")
				for _, line := range []string{
					"--as=NS -n mainstay-system create configmap mainstay-off --from-literal=reason=x",
					`--as=NS -n mainstay-system patch configmap mainstay-off --type=merge -p={"data":{"for":"1h"}}`,
				} {
					a.result.tries++
					if out, err := a.kubectl("admin", "", line); err == nil || !strings.Contains(out, "cannot") {
						a.Errorf("%s: %s", line, out)
					}
				}
			},
		},
	}
}

// now is the time as kubectl rollout restart writes it.
func now() string { return time.Now().Format(time.RFC3339) }

// permitsOf counts the permits for an object.
func permitsOf(a *attempt, uid string) int {
	a.Helper()
	var secrets corev1.SecretList
	world.Must(a.T, shared.Client.List(a.Context(), &secrets, client.InNamespace("mainstay-system"), client.HasLabels{permit.Label}))
	n := 0
	for _, s := range secrets.Items {
		if s.Type == v1alpha1.SecretTypePermit && strings.Contains(string(s.Data["record"]), uid) {
			n++
		}
	}
	return n
}
