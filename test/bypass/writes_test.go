// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/test/world"
)

const asked = "asked: nginx:1.28"

// owner is none that exists.
const owner = `{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"12345678-1234-1234-1234-123456789012","blockOwnerDeletion":true,"controller":true}`

// writes are the plain ways to write an object, and what makes it look as if it
// were not held.
func writes() []*row {
	newer := strings.ReplaceAll(manifest, "nginx:1.27", "nginx:1.28")
	partial := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: NS}\ndata: {a: c}\n"
	return []*row{
		{
			id:     "3c patch types",
			threat: "a verb or a patch type that nobody thought of",
			how:    "JSON, merge and strategic merge patch, server-side and client-side apply, replace, edit, set image",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					`patch deployment web --type=json -p=[{"op":"replace","path":"/spec/replicas","value":5}]`: "spec.replicas   git: 2   asked: 5",
					`patch deployment web --type=merge -p={"spec":{"replicas":5}}`:                             "spec.replicas   git: 2   asked: 5",
					`patch deployment web --type=strategic -p={"spec":{"replicas":5}}`:                         "spec.replicas   git: 2   asked: 5",
					"set image deployment/web web=nginx:1.28":                                                  asked,
					"set env deployment/web A=b":                                                               "env[name=A]",
					"rollout pause deployment/web":                                                             "spec.paused",
					"annotate deployment web a=b":                                                              "metadata.annotations.a",
				})
				a.refusedFor("alice", newer, tries{
					"apply --server-side --force-conflicts -f -": asked,
					"apply -f -":           asked,
					"replace -f -":         asked,
					"replace --force -f -": "is held by git",
				})
				a.cbor()
			},
		},
		{
			id:      "3c field manager",
			threat:  "the name of Mainstay's field manager, which anyone can choose",
			objects: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: NS}\ndata: {a: a, b: b}\n",
			how:     "server-side apply of more, of other and of fewer fields, patch and replace, all with --field-manager=mainstay",
			want:    refused,
			try: func(a *attempt) {
				a.refusedFor("alice", newer, tries{
					"apply --server-side --force-conflicts --field-manager=mainstay -f -": asked,
					"replace --field-manager=mainstay -f -":                               asked,
				})
				a.refusedFor("alice", partial, tries{"apply --server-side --force-conflicts --field-manager=mainstay -f -": "data.a"})
				a.refusedFor("alice", strings.Replace(manifest, "  replicas: 2\n", "  replicas: 2\n  paused: true\n", 1),
					tries{"apply --server-side --force-conflicts --field-manager=mainstay -f -": "spec.paused"})
				a.refusedFor("alice", strings.Replace(manifest, "  replicas: 2\n", "", 1),
					tries{"apply --server-side --force-conflicts --field-manager=mainstay -f -": "spec.replicas"})
				a.refused(tries{"set image deployment/web web=nginx:1.28 --field-manager=mainstay": asked})
			},
		},
		{
			id:     "3c managed fields",
			threat: "managedFields wiped, so that nobody seems to own anything",
			how:    "managedFields set to [{}], to [], to null, and without Mainstay's entry, alone and together with an edit",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					`patch deployment web --type=json -p=[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`:                                                    "managedFields may not be wiped",
					`patch deployment web --type=merge -p={"metadata":{"managedFields":[{}]}}`:                                                                                "managedFields may not be wiped",
					`patch deployment web --type=json -p=[{"op":"remove","path":"/metadata/managedFields/0"}]`:                                                                "managedFields may not be wiped",
					`patch deployment web --type=json -p=[{"op":"replace","path":"/metadata/managedFields/0/fieldsV1","value":{}}]`:                                           "managedFields may not be wiped",
					`patch deployment web --type=json -p=[{"op":"replace","path":"/metadata/managedFields/0/manager","value":"alice"}]`:                                       "managedFields may not be wiped",
					`patch deployment web --type=json -p=[{"op":"replace","path":"/metadata/managedFields","value":[{}]},{"op":"replace","path":"/spec/replicas","value":5}]`: "is held by git",
				})
			},
		},
		{
			id:      "3c managed fields by status",
			threat:  "managedFields wiped through /status, where no one looks",
			how:     "managedFields set to [{}] through /status, then an edit",
			want:    bounded,
			because: "what git declares is not kept in managedFields: the edit is refused as before",
			try: func(a *attempt) {
				a.must("alice", "", `patch deployment web --subresource=status --type=json -p=[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`)
				a.refused(tries{
					"set image deployment/web web=nginx:1.28":                      asked,
					"label deployment web mainstay.dev/sync-":                      "mainstay.dev/sync",
					`patch deployment web --type=merge -p={"spec":{"replicas":5}}`: "spec.replicas   git: 2   asked: 5",
				})
			},
		},
		{
			id:     "3c ownership label",
			threat: "the object disclaimed: without the label that says whose it is, no webhook would be asked",
			how:    "the label removed, changed, emptied, alone and in the same request as an edit; by patch, apply and replace",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					"label deployment web mainstay.dev/sync-":                               "mainstay.dev/sync",
					"label deployment web mainstay.dev/sync=other.000000000000 --overwrite": "mainstay.dev/sync",
					"label deployment web mainstay.dev/sync= --overwrite":                   "mainstay.dev/sync",
					"label namespace NS mainstay.dev/sync-":                                 "mainstay.dev/sync",
				})
				a.refused(tries{
					`patch deployment web --type=merge -p={"metadata":{"labels":null}}`:                                                                  "mainstay.dev/sync",
					`patch deployment web --type=json -p=[{"op":"remove","path":"/metadata/labels"},{"op":"replace","path":"/spec/replicas","value":5}]`: "spec.replicas",
				})
				a.refusedFor("alice", manifest, tries{"replace -f -": "mainstay.dev/sync"})
			},
		},
		{
			id:      "3c forged label",
			threat:  "the ownership label on an object that git does not declare: to lock it, or to have it pruned",
			how:     "a ConfigMap with a label that fits it, which the leader takes off again, and one with another's; both edited and deleted",
			want:    ignored,
			because: "what is held says the inventory, the label only saves calls",
			try: func(a *attempt) {
				gs := shared.GitSync(a.T)
				fits := ownership.LabelValue(types.NamespacedName{Namespace: gs.Namespace, Name: gs.Name},
					ownership.ID{Kind: "ConfigMap", Namespace: a.namespace, Name: "fits"})
				a.must("alice", "", "create configmap fits")
				a.must("alice", "", "create configmap other")
				a.must("alice", "", "label configmap fits "+v1alpha1.SyncLabel+"="+fits)
				a.must("alice", "", "label configmap other "+v1alpha1.SyncLabel+"="+fits)
				took := shared.Await(a.T, "the label that fits is taken off", func() (bool, string) {
					out, err := a.kubectl("admin", "", `get configmap fits -o jsonpath={.metadata.labels}`)
					return err == nil && !strings.Contains(out, v1alpha1.SyncLabel), out
				})
				if took > 5*time.Second {
					a.Errorf("the label was there for %s", took)
				}
				a.works(
					`patch configmap fits --type=merge -p={"data":{"a":"b"}}`,
					"delete configmap fits",
					`patch configmap other --type=merge -p={"data":{"a":"b"}}`,
					"label configmap other "+v1alpha1.SyncLabel+"-",
					"delete configmap other",
				)
			},
			objects: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: declared, namespace: NS}\ndata: {a: b}\n",
		},
		{
			id:      "3c copies",
			threat:  "a copy or a restore that carries Mainstay's labels along; a controller that copies labels",
			how:     "a held Deployment saved, renamed and created again; the EndpointSlice of a held Service",
			want:    ignored,
			because: "a label that does not fit its object binds nobody",
			objects: "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n",
			try: func(a *attempt) {
				live := a.must("alice", "", "get deployment web -o json")
				var object map[string]any
				world.Must(a.T, json.Unmarshal([]byte(live), &object))
				metadata := object["metadata"].(map[string]any)
				metadata["name"] = "copy"
				for _, field := range []string{"uid", "resourceVersion", "managedFields", "creationTimestamp", "generation"} {
					delete(metadata, field)
				}
				raw, err := json.Marshal(object)
				world.Must(a.T, err)
				a.must("alice", string(raw), "create -f -")
				shared.Await(a.T, "the endpoint slice carries the label", func() (bool, string) {
					out, err := a.kubectl("alice", "", "get endpointslices -l mainstay.dev/sync -o name")
					return err == nil && strings.Contains(out, "/web-"), out
				})
				slice := strings.TrimSpace(a.must("alice", "", "get endpointslices -o name"))
				a.works(
					"set image deployment/copy web=nginx:1.28",
					"scale deployment/copy --replicas=1",
					"delete deployment copy",
					"label "+slice+" a=b",
					"delete "+slice,
				)
			},
		},
		{
			id:     "3c create",
			threat: "an object made anew in another shape, under the name that git declares",
			how:    "create of what is there, with other content, with generateName beside the name; dry run",
			want:   refused,
			try: func(a *attempt) {
				a.refusedFor("alice", newer, tries{
					"create -f -":                  asked,
					"create --dry-run=server -f -": asked,
				})
				a.refusedFor("alice", strings.Replace(newer, "name: web,", "name: web, generateName: other-,", 1), tries{"create -f -": "metadata.generateName"})
			},
		},
		{
			id:      "3c shadow",
			threat:  "a second object that takes the place of a declared one: a Deployment with the same pod labels, a ReplicaSet, a pod; a Service before the same pods",
			how:     "a Deployment of another name whose pods a declared Service would select; a Service of another name that selects the declared pods",
			want:    free,
			because: "what git does not declare is free, pods and ReplicaSets included: a deployment's own controller makes them again",
			try: func(a *attempt) {
				a.must("alice", strings.ReplaceAll(manifest, "name: web,", "name: other,"), "create -f -")
				a.must("alice", "", "create service clusterip other --tcp=80:80")
				a.must("alice", "", `patch service other --type=merge -p={"spec":{"selector":{"app":"web"}}}`)
				a.result.tries = 2
			},
		},
		{
			id:      "3c finalizers",
			threat:  "a finalizer that keeps git from deleting the object, or one of git's taken off",
			how:     "a finalizer added, one that git declares removed, by patch and by replace",
			want:    refused,
			objects: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: NS, finalizers: [example.org/kept]}\ndata: {a: b}\n",
			try: func(a *attempt) {
				a.refused(tries{
					`patch deployment web --type=merge -p={"metadata":{"finalizers":["example.org/x"]}}`:                         "metadata.finalizers",
					`patch deployment web --type=json -p=[{"op":"add","path":"/metadata/finalizers","value":["orphan"]}]`:        "metadata.finalizers",
					`patch configmap kept --type=merge -p={"metadata":{"finalizers":null}}`:                                      "metadata.finalizers",
					`patch configmap kept --type=merge -p={"metadata":{"finalizers":["example.org/kept","foregroundDeletion"]}}`: "metadata.finalizers",
				})
				a.Cleanup(func() { // or the namespace would stay for good
					shared.Pushed(a.T, map[string]string{a.namespace + "/objects.yaml": in(a.namespace, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: NS}\ndata: {a: b}\n")})
				})
			},
		},
		{
			id:     "3c owner references",
			threat: "an owner that is gone, so that the garbage collector deletes the object",
			how:    "an ownerReference to nothing, to another object, with blockOwnerDeletion and controller set; by merge and JSON patch and apply",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					`patch deployment web --type=merge -p={"metadata":{"ownerReferences":[` + owner + `]}}`:                         "metadata.ownerReferences",
					`patch deployment web --type=json -p=[{"op":"add","path":"/metadata/ownerReferences","value":[` + owner + `]}]`: "metadata.ownerReferences",
				})
				a.refusedFor("alice", strings.Replace(manifest, "name: web,", "ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: x, uid: 12345678-1234-1234-1234-123456789012}], name: web,", 1),
					tries{"apply --server-side --force-conflicts -f -": "metadata.ownerReferences"})
			},
		},
		{
			id:     "3c dry run",
			threat: "a dry run that is judged otherwise, or that leaves something behind",
			how:    "an edit, a deletion, a scale and a restart as dry runs; then the permits are counted",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					"set image deployment/web web=nginx:1.28 --dry-run=server": asked,
					"delete deployment web --dry-run=server":                   "to delete it, remove it there",
					"scale deployment/web --replicas=5 --dry-run=server":       "spec.replicas   git: 2   asked: 5",
				})
				uid := strings.TrimSpace(a.must("alice", "", "get deployment web -o jsonpath={.metadata.uid}"))
				a.must("alice", "", `patch deployment web --dry-run=server --type=merge -p={"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"`+now()+`"}}}}}`)
				if kept := permitsOf(a, uid); kept != 0 {
					a.Errorf("the dry run left %d permits", kept)
				}
			},
		},
		{
			id:     "3c cluster-admin",
			threat: "who may do everything",
			how:    "an edit, a deletion and a scale as system:masters",
			want:   refused,
			try: func(a *attempt) {
				a.refusedFor("admin", "", tries{
					"set image deployment/web web=nginx:1.28": asked,
					"delete deployment web":                   "to delete it, remove it there",
					"scale deployment/web --replicas=5":       "spec.replicas   git: 2   asked: 5",
				})
			},
		},
		{
			id:     "3c pretended restart",
			threat: "the annotation of kubectl rollout restart, as a way to put something of one's own on the object",
			how:    "a restart with another time, with a text, with a label beside it",
			want:   refused,
			try: func(a *attempt) {
				at := func(value, more string) string {
					return `patch deployment web --type=merge -p={"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"` + value + `"}` + more + `}}}}`
				}
				a.refused(tries{
					at("2020-01-01T00:00:00Z", ""):   "restartedAt",
					at("now", ""):                    "restartedAt",
					at(now(), `,"labels":{"a":"b"}`): "labels.a",
				})
			},
		},
		{
			id:      "3c mutation",
			threat:  "somebody's mutating webhook or policy, which changes what git's own write says",
			how:     "a MutatingAdmissionPolicy for the image; alice's edit; then a commit that changes the replicas",
			want:    detected,
			because: "alice's edit is refused; what the cluster's mutating policies make of git's own write is not fought, since they are asked about every write: `Ready` and an Event say what is stored instead",
			try: func(a *attempt) {
				a.must("alice", mutation, "apply -f -")
				a.Cleanup(func() { a.must("admin", mutation, "delete -f - --ignore-not-found") })
				shared.Await(a.T, "the policy is in force, and alice is refused", func() (bool, string) {
					out, err := a.kubectl("alice", "", "label deployment web a=b")
					return err != nil && strings.Contains(out, "asked: other:1"), out
				})
				a.result.tries += 2
				shared.Pushed(a.T, map[string]string{a.namespace + "/web.yaml": in(a.namespace, strings.ReplaceAll(manifest, "replicas: 2", "replicas: 3"))})
				if got := a.must("admin", "", "get deployment web -o jsonpath={.spec.replicas},{.spec.template.spec.containers[0].image}"); got != "3,other:1" {
					a.Errorf("replicas and image are %s", got)
				}
				words := fmt.Sprintf("deployments.apps \"web\" in %s: spec.template.spec.containers[name=web].image git: nginx:1.27, stored: other:1", a.namespace)
				shared.Await(a.T, "the status says so", func() (bool, string) {
					c := meta.FindStatusCondition(shared.GitSync(a.T).Status.Conditions, v1alpha1.ConditionReady)
					if c == nil {
						return false, "no condition"
					}
					return strings.Contains(c.Message, words), c.Message
				})
				shared.Await(a.T, "an Event says so", func() (bool, string) {
					out, err := a.kubectl("admin", "", "get events --field-selector reason=Mutated")
					return err == nil && strings.Contains(out, "stored: other:1"), out
				})
			},
		},
	}
}

// cbor sends a server-side apply in CBOR, which an API server may not take yet.
func (a *attempt) cbor() {
	a.Helper()
	body, err := direct.Marshal(map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "namespace": a.namespace},
		"spec":     map[string]any{"replicas": int64(5)},
	})
	world.Must(a.T, err)
	force := true
	_, err = a.as("alice", rest.ImpersonationConfig{}).AppsV1().Deployments(a.namespace).Patch(context.WithoutCancel(a.Context()), "web",
		types.ApplyCBORPatchType, body, metav1.PatchOptions{FieldManager: "alice", Force: &force})
	if err != nil && apierrors.IsUnsupportedMediaType(err) { // 415: there is no such way
		a.Logf("CBOR is not served: %v", err)
		return
	}
	a.denied("apply in CBOR", text(err), err, "spec.replicas   git: 2   asked: 5")
}

const mutation = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NS}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: '[JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/image", value: "other:1"}]'}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: NS}
spec: {policyName: NS}
`
