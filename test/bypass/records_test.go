// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
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
			id:      "3c inventory replayed",
			threat:  "an older inventory with a true seal, put back by an impersonator of Mainstay's account",
			how:     "the Inventory and its pieces saved, a ConfigMap declared since, all put back as they were; then an edit of the ConfigMap, a restart, and the edit again",
			want:    ignored,
			because: "a replica takes no older generation than it knows; after a restart the ConfigMap is locked, and git is read before anything else is done",
			alone:   true,
			try: func(a *attempt) {
				old := &v1alpha1.Inventory{}
				world.Must(a.T, shared.Client.Get(a.Context(), client.ObjectKey{Namespace: "mainstay-system", Name: "shop"}, old))
				var pieces corev1.SecretList
				world.Must(a.T, shared.Client.List(a.Context(), &pieces, client.InNamespace("mainstay-system"), client.MatchingFields{"type": v1alpha1.SecretTypeInventory}))
				shared.Pushed(a.T, map[string]string{a.namespace + "/objects.yaml": in(a.namespace, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later, namespace: NS}\ndata: {a: b}\n")})

				mainstay := a.as("alice", rest.ImpersonationConfig{UserName: account}).CoreV1().RESTClient()
				for _, piece := range pieces.Items {
					piece.ResourceVersion, piece.UID, piece.ManagedFields = "", "", nil
					err := mainstay.Post().AbsPath("/api/v1/namespaces/mainstay-system/secrets").Body(&piece).Do(world.Lasting(a.T)).Error()
					if err != nil && !apierrors.IsAlreadyExists(err) {
						a.Fatal(err)
					}
				}
				raw, err := json.Marshal(map[string]any{"data": old.Data})
				world.Must(a.T, err)
				world.Must(a.T, mainstay.Patch(types.MergePatchType).AbsPath("/apis/mainstay.dev/v1alpha1/namespaces/mainstay-system/inventories/shop").Body(raw).Do(world.Lasting(a.T)).Error())
				edits := tries{
					`patch configmap later --type=merge -p={"data":{"a":"c"}}`: "is held by git",
					"delete configmap later":                                   "is held by git",
				}
				a.refused(edits)
				world.Must(a.T, shared.Controller(a.T).Stop(a.Context(), 5*time.Second))
				shared.Restart(a.T)
				a.refused(edits)
				shared.Applied(a.T)
				shared.Pushed(a.T, map[string]string{a.namespace + "/more.yaml": in(a.namespace, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more, namespace: NS}\n")})
				a.refused(edits)
			},
		},
		{
			id:      "3a 7 authority",
			threat:  "the Secret of Mainstay's authority, replaced so that another may answer, or nobody",
			how:     "its certificate and key overwritten, and the Secret deleted; an edit after each",
			want:    refused,
			because: "replicas serve from memory, and put the Secret back",
			alone:   true,
			try: func(a *attempt) {
				read := func() string {
					return a.must("admin", "", "-n mainstay-system get secret mainstay-webhook-ca -o jsonpath={.data} --ignore-not-found")
				}
				for _, line := range []string{
					`-n mainstay-system patch secret mainstay-webhook-ca --type=merge -p={"data":{"tls.crt":"eA==","tls.key":"eA=="}}`,
					"-n mainstay-system delete secret mainstay-webhook-ca",
				} {
					a.must("alice", "", line)
					a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
					took := shared.Await(a.T, "the Secret is there again", func() (bool, string) {
						now := read()
						return strings.Contains(now, `"ca.crt":"LS0t`) && strings.Contains(now, `"tls.crt":"LS0t`) && strings.Contains(now, `"tls.key":"LS0t`), now
					})
					a.Logf("there again after %s", took)
					a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
				}
			},
		},
		{
			id:      "3c GitSync held",
			threat:  "the GitSync itself changed: another repository, another mode, no prune",
			how:     "a GitSync that git declares: its mode, its branch and its policies edited, and deleted",
			want:    refused,
			bare:    true,
			objects: "apiVersion: mainstay.dev/v1alpha1\nkind: GitSync\nmetadata: {name: NS, namespace: mainstay-system}\nspec:\n  source: {url: 'file://" + shared.State.Repository + "', ref: {branch: nothing}}\n  enforcement: {mode: Enforce}\n",
			try: func(a *attempt) {
				a.refused(tries{
					`-n mainstay-system patch gitsync NS --type=merge -p={"spec":{"enforcement":{"mode":"Audit"}}}`:                            "spec.enforcement.mode",
					`-n mainstay-system patch gitsync NS --type=merge -p={"spec":{"source":{"ref":{"branch":"other"}}}}`:                       "spec.source.ref.branch",
					`-n mainstay-system patch gitsync NS --type=merge -p={"spec":{"policies":{"exceptions":[{"paths":["**"],"reason":"x"}]}}}`: "spec.policies",
					"-n mainstay-system delete gitsync NS": removeThere,
				})
			},
		},
		{
			id:      "3c GitSync free",
			threat:  "the same, where git does not declare it",
			how:     "the mode of a GitSync that people made, edited and put back",
			want:    free,
			because: "who may write a GitSync decides what git is and how strictly it counts; let git declare it, and it is held",
			try: func(a *attempt) {
				a.must("admin", "apiVersion: mainstay.dev/v1alpha1\nkind: GitSync\nmetadata: {name: NS, namespace: mainstay-system}\nspec:\n  source: {url: 'file://"+shared.State.Repository+"', ref: {branch: nothing}}\n  enforcement: {mode: Enforce}\n", "create -n mainstay-system -f -")
				a.works(
					`-n mainstay-system patch gitsync NS --type=merge -p={"spec":{"enforcement":{"mode":"Audit"}}}`,
					"-n mainstay-system delete gitsync NS",
				)
			},
		},
		{
			id:     "3c suspension",
			threat: "a GitSync suspended by who may write it and does not hold the verb for it",
			how:    "the annotation set by someone with the role mainstay-edit: by patch, by apply, as a dry run; a suspension written into the status; by alice, who holds the verb, without a reason and for too long",
			want:   refused,
			try: func(a *attempt) {
				a.must("admin", "", "-n mainstay-system create rolebinding NS --clusterrole=mainstay-edit --user=NS")
				shared.Await(a.T, "she may write GitSyncs", func() (bool, string) {
					out, err := a.kubectl("admin", "", "--as=NS auth can-i patch gitsyncs.mainstay.dev -n mainstay-system")
					return err == nil, out
				})
				const verb = "the verb suspend on gitsyncs.mainstay.dev"
				by := func(value string) string {
					return `-n mainstay-system patch gitsync shop --type=merge -p={"metadata":{"annotations":{"mainstay.dev/suspend":"` + value + `"}}}`
				}
				a.refusedFor("admin", "", tries{
					by(`1h\u0020INC`) + " --as=NS":                  verb,
					by(`1h\u0020INC`) + " --as=NS --dry-run=server": verb,
				})
				a.refusedFor("admin", "apiVersion: mainstay.dev/v1alpha1\nkind: GitSync\nmetadata: {name: shop, namespace: mainstay-system, annotations: {mainstay.dev/suspend: 1h INC}}\n",
					tries{"-n mainstay-system apply --server-side --force-conflicts --as=NS -f -": verb})
				a.refused(tries{
					by("1h"):           "a reason has to follow",
					by(`48h\u0020INC`): "at most 24h",
					`-n mainstay-system patch gitsync shop --subresource=status --type=merge -p={"status":{"suspended":{"by":"x","reason":"x","since":"2026-01-01T00:00:00Z","until":"2036-01-01T00:00:00Z"}}}`: "only Mainstay itself writes its status",
				})
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
			},
		},
		{
			id:      "3c tenant",
			threat:  "a tenant's GitSync that renders into another namespace",
			how:     "a GitSync in a namespace of its own, by an account that may do everything there, of the folder that declares this row's objects; and one without an account",
			want:    ignored,
			because: "what lies outside is an error with file and line, and nothing of that commit is applied",
			outside: "apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-own}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: deployer, namespace: NS-own}\n---\n" +
				"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: NS-own}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n" +
				"subjects: [{kind: ServiceAccount, name: deployer, namespace: NS-own}]\n",
			try: func(a *attempt) {
				gitsync := "apiVersion: mainstay.dev/v1alpha1\nkind: GitSync\nmetadata: {name: evil, namespace: NS-own}\nspec:\n  source: {url: 'file://" + shared.State.Repository +
					"', ref: {branch: main}, path: NS}\n  enforcement: {mode: Enforce}\n"
				a.refusedFor("alice", gitsync, tries{"create -n NS-own -f -": "spec.serviceAccountName is required"})
				a.must("alice", gitsync+"  serviceAccountName: deployer\n", "create -n NS-own -f -")
				a.Cleanup(func() { a.must("admin", "", "-n NS-own delete gitsync evil") })
				a.result.tries++
				shared.Await(a.T, "it is told that all of this lies outside", func() (bool, string) {
					out, err := a.kubectl("alice", "", "-n NS-own get gitsync evil -o jsonpath={.status}")
					return err == nil && strings.Contains(out, "is outside namespace "+a.namespace+"-own"), out
				})
				a.refused(tries{"--as=system:serviceaccount:NS-own:deployer set image deployment/web web=nginx:1.28": asked})
			},
		},
		{
			id:      "3c corrected",
			threat:  "something smuggled in beside what is corrected, where a GitSync has service accounts' writes put right",
			how:     "as a service account, an image together with an ownerReference, a missing ownership label, a wiped managedFields, a finalizer",
			want:    bounded,
			because: "what git declares, owners and the label are put back, or all is refused; an operator's finalizer stays, as it would alone",
			alone:   true,
			try: func(a *attempt) {
				a.Cleanup(func() { // it goes with the GitSync, and takes a new configuration
					shared.Await(a.T, "nothing is corrected any more", func() (bool, string) {
						out, err := a.kubectl("admin", "", "get mutatingwebhookconfiguration mainstay --ignore-not-found -o name")
						return err == nil && out == "", out
					})
				})
				follow(a, map[string]string{"right.yaml": in(a.namespace, strings.ReplaceAll(manifest, "name: web, n", "name: right, n"))}, "  enforcement: {mode: Enforce, controllers: Correct}\n")
				a.must("admin", "", "create rolebinding operator --clusterrole=cluster-admin --serviceaccount=NS:operator")
				const image = `"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}}`
				patch := func(metadata string) string {
					return `--as=system:serviceaccount:NS:operator patch deployment right -p={"metadata":{` + metadata + `},` + image + `}`
				}
				shared.Await(a.T, "writes are corrected", func() (bool, string) {
					out, err := a.kubectl("admin", "", patch("")+" --dry-run=server")
					return err == nil && strings.Contains(out, "Warning: "), out
				})
				for _, metadata := range []string{
					`"ownerReferences":[` + owner + `]`, `"labels":{"mainstay.dev/sync":null}`, `"finalizers":["example.org/smuggled"]`,
				} {
					a.result.tries++
					if out, err := a.kubectl("admin", "", patch(metadata)); err != nil || !strings.Contains(out, "Warning: ") {
						a.Errorf("%s: %s", metadata, out)
					}
				}
				a.refusedFor("admin", "", tries{
					`--as=system:serviceaccount:NS:operator patch deployment right --type=json -p=[{"op":"replace","path":"/metadata/managedFields","value":[{}]},{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"nginx:1.28"}]`: "managedFields may not be wiped",
				})
				got := a.must("admin", "", "get deployment right -o jsonpath={.spec.template.spec.containers[0].image};{.metadata.ownerReferences};{.metadata.finalizers};{.metadata.labels}")
				if !strings.HasPrefix(got, `nginx:1.27;;["example.org/smuggled"];`) || !strings.Contains(got, "mainstay.dev/sync") {
					a.Errorf("the object has %s", got)
				}
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

// follow has a GitSync of the row's name hold a repository of its own.
func follow(a *attempt, files map[string]string, spec string) {
	a.Helper()
	dir := filepath.Join(a.TempDir(), "repo")
	git := func(args ...string) {
		a.Helper()
		out, err := exec.CommandContext(a.Context(), "git", append([]string{"-c", "user.name=Cy", "-c", "user.email=cy@shop.example"}, args...)...).CombinedOutput()
		if err != nil {
			a.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main", dir)
	for name, content := range files {
		world.Must(a.T, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	git("-C", dir, "add", ".")
	git("-C", dir, "commit", "-q", "-m", a.Name())
	a.must("admin", "apiVersion: mainstay.dev/v1alpha1\nkind: GitSync\nmetadata: {name: NS, namespace: mainstay-system}\nspec:\n  source: {url: 'file://"+dir+
		"', ref: {branch: main}}\n  interval: 1s\n"+spec, "create -n mainstay-system -f -")
	a.Cleanup(func() { a.must("admin", "", "-n mainstay-system delete gitsync NS --timeout=30s") })
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
