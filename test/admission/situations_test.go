// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/test/world"
	"github.com/mainstay-gitops/mainstay/webhook"
)

func TestEverySituation(t *testing.T) {
	s := prepare(t)
	for _, row := range situations() {
		t.Run(row.name, func(t *testing.T) { s.situation(t, row) })
	}
}

// push commits and pushes what a line has changed in the clone.
const push = ` && git -C shop-git commit -q -m "try" && git -C shop-git push -q`

// aPod is one of the Deployment web.
const aPod = "$(kubectl get pod -l app=web -o name | tail -1)"

const (
	image    = "spec.template.spec.containers[name=web].image"
	replicas = "spec.replicas"
)

// situations are the rows of the README's table, in its order.
func situations() []situation {
	const web = "deployment/web"
	const alone = "pods of the shop are left alone"
	const asked = "git: nginx:1.27   asked: nginx:1.28"
	return []situation{
		{
			name: "a field that git sets gets another value", want: refused,
			note: "with the file and line where to change it; all patch types and updates are alike",
			tries: []try{
				{line: "kubectl set image deployment/web web=nginx:1.28", on: web, says: image + "   " + asked},
				{line: `KUBE_EDITOR="sed -i s/nginx:1.27/nginx:1.28/" kubectl edit deployment web`, on: web, says: asked},
				{line: `kubectl patch deployment web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":5}]'`, on: web, says: "spec.replicas   git: 2   asked: 5"},
				{line: `kubectl patch deployment web --type=merge -p '{"spec":{"replicas":5}}'`, on: web, says: "git: 2   asked: 5"},
				{line: `kubectl patch deployment web --type=strategic -p '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}}}'`, on: web, says: asked},
				{line: "sed s/nginx:1.27/nginx:1.28/ shop-git/web/deployment.yaml | kubectl apply -f -", on: web, says: asked},
				{line: "sed s/nginx:1.27/nginx:1.28/ shop-git/web/deployment.yaml | kubectl apply --server-side --force-conflicts -f -", on: web, says: asked},
				{line: "kubectl get deployment web -o yaml | sed s/nginx:1.27/nginx:1.28/ | kubectl replace -f -", on: web, says: asked},
				{line: `kubectl --as=system:serviceaccount:shop:ci set image deployment/web web=nginx:1.28`, on: web, says: asked},
			},
		},
		{
			name: "server-side apply that does not force", want: elsewhere,
			note: "a conflict with the field manager mainstay",
			tries: []try{
				{line: "sed s/nginx:1.27/nginx:1.28/ shop-git/web/deployment.yaml | kubectl apply --server-side -f -", on: web, says: `conflict with "mainstay": .spec.template.spec.containers[name="web"].image`},
			},
		},
		{
			name: "a field that git sets is removed", want: refused,
			tries: []try{
				{line: "kubectl label deployment web app-", on: web, says: "metadata.labels.app   git: web   asked: (removed)"},
				{line: `kubectl patch deployment web --type=json -p '[{"op":"remove","path":"/spec/template/spec/containers/0/readinessProbe"}]'`, on: web, says: "readinessProbe"},
				{line: `kubectl patch configmap web --type=merge -p '{"data":{"shop.conf":null}}'`, on: "configmap/web", says: `data["shop.conf"]`},
			},
		},
		{
			name: "a person sets a field that git does not set", want: refused,
			note: "`undeclared: RejectPeople` is the default",
			tries: []try{
				{line: "kubectl label deployment web tier=front", on: web, says: "metadata.labels.tier   git: (none)   asked: front"},
				{line: "kubectl set env deployment/web A=b", on: web, says: "env[name=A]"},
				{line: `kubectl patch deployment web --type=json -p '[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"side","image":"x"}}]'`, on: web, says: "containers[name=side]"},
				{line: "kubectl rollout pause deployment/web", on: web, says: "spec.paused"},
			},
		},
		{
			name: "a service account or a controller does", want: permitted, note: "and it stays",
			tries: []try{
				{line: "kubectl --as=system:serviceaccount:shop:ci annotate deployment web build=17", on: web, live: map[string]string{"metadata.annotations.build": "17"}},
				{line: "kubectl --as=system:serviceaccount:kube-system:generic-garbage-collector label deployment web wave=1", on: web, live: map[string]string{"metadata.labels.wave": "1"}},
				{line: "the deployment controller itself: its revision annotation", do: func(t *testing.T, s *shell) (string, error) {
					return s.run(t, "kubectl get deployment web -o jsonpath='{.metadata.annotations}'")
				}, says: `"deployment.kubernetes.io/revision":"`},
			},
		},
		{
			name: "a person changes what a service account has set", want: refused,
			tries: []try{
				{line: "kubectl annotate deployment web build=18 --overwrite", on: web, says: "metadata.annotations.build"},
			},
		},
		{
			name: "a person removes it", want: permitted, note: "that is what git says",
			tries: []try{
				{line: "kubectl annotate deployment web build-", on: web, live: map[string]string{"metadata.annotations.build": ""}},
				{line: "kubectl label deployment web wave-", on: web, live: map[string]string{"metadata.labels.wave": ""}},
			},
		},
		{
			name: "anybody but git sets an undeclared field where a GitSync says `undeclared: Reject`", want: refused,
			tries: []try{
				{line: "kubectl annotate configmap reject build=17", on: "configmap/reject", says: "metadata.annotations.build"},
				{line: "kubectl --as=system:serviceaccount:shop:ci annotate configmap reject build=17", on: "configmap/reject", says: "metadata.annotations.build"},
				{line: "kubectl --as=system:serviceaccount:kube-system:namespace-controller --as-group=system:masters annotate configmap reject build=17", on: "configmap/reject", says: "metadata.annotations.build"},
			},
		},
		{
			name: "a person does where it says `undeclared: Permit`", want: permitted,
			tries: []try{
				{line: "kubectl annotate configmap permit build=17", on: "configmap/permit", live: map[string]string{"metadata.annotations.build": "17"}},
				{line: "kubectl annotate configmap permit build-", on: "configmap/permit", live: map[string]string{"metadata.annotations.build": ""}},
			},
		},
		{
			name: "what git says is written once more, by anyone", want: permitted,
			note: "a CI job may go on applying what git says: the content counts, not the account",
			tries: []try{
				{line: "kubectl apply -f shop-git/web", on: web, live: map[string]string{image: "nginx:1.27", replicas: "2"}},
				{line: "kubectl apply --server-side --force-conflicts -f shop-git/web", on: web, live: map[string]string{image: "nginx:1.27", replicas: "2"}},
				{line: "kubectl --as=system:serviceaccount:shop:ci apply -f shop-git/web", on: web, live: map[string]string{image: "nginx:1.27", replicas: "2"}},
				{line: "kubectl --as=system:serviceaccount:shop:ci apply --server-side --force-conflicts --field-manager=ci -f shop-git/web", on: web, live: map[string]string{image: "nginx:1.27", replicas: "2"}},
				{line: "kubectl set image deployment/web web=nginx:1.27", on: web},
				{line: "kubectl scale deployment/web --replicas=2", on: web},
			},
		},
		{
			name: "a commit is on its way, and somebody writes what it says", want: permitted,
			note: "here one of two Services can't have its port, so that the commit is tried again and again",
			before: []string{
				`sed -i -e 's/"1"/"2"/' -e 's/ClusterIP/NodePort/' -e 's/port: 80/&, nodePort: 30123/' shop-git/.others/waits/*.yaml && git -C shop-git add -A` + push,
				"kubectl get services left right -o yaml | grep 30123",
			},
			tries: []try{
				{line: "kubectl label services left right wave=2 --overwrite", soon: true},
			},
		},
		{
			name: "somebody writes something else meanwhile", want: refused,
			tries: []try{
				{line: "kubectl label services left wave=3 --overwrite", says: "metadata.labels.wave"},
				{line: "kubectl label services right wave=3 --overwrite", says: "metadata.labels.wave"},
			},
			after: []string{"git -C shop-git revert --no-edit HEAD && git -C shop-git push -q"},
		},
		{
			name: "bookkeeping: an update that changes nothing, generation and other junk", want: permitted,
			tries: []try{
				{line: "kubectl get deployment web -o yaml | kubectl replace -f -", on: web},
				{line: "kubectl get deployment web -o yaml | sed -E 's/^(  generation:).*/\\1 77/' | kubectl replace -f -", on: web},
				{line: "kubectl annotate deployment web kubectl.kubernetes.io/last-applied-configuration=x --overwrite", on: web, live: map[string]string{`metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]`: "x"}, undo: "kubectl annotate deployment web kubectl.kubernetes.io/last-applied-configuration-"},
				{line: `kubectl patch deployment web --type=merge -p '{"metadata":{"creationTimestamp":null,"selfLink":"x"},"status":{"replicas":99}}'`, on: web},
			},
		},
		{
			name: "`managedFields` are wiped or narrowed", want: refused,
			tries: []try{
				{line: `kubectl patch deployment web --type=json -p '[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]'`, on: web, says: "managedFields"},
				{line: `kubectl --as=system:serviceaccount:shop:ci patch deployment web --type=json -p '[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]'`, on: web, says: "managedFields"},
				{line: `kubectl patch service api --type=json -p '[{"op":"remove","path":"/metadata/managedFields/0"}]'`, on: "service/api", says: "managedFields"},
				{line: `kubectl patch service api --type=json -p '[{"op":"replace","path":"/metadata/managedFields/0/fieldsV1","value":{"f:spec":{"f:ports":{}}}}]'`, on: "service/api", says: "managedFields"},
			},
		},
		{
			name: "an exception in the repository covers the change", want: permitted,
			note: "`policies/notes` in the sample; a restart is built in",
			tries: []try{
				{line: "kubectl annotate deployment web oncall-note=looking", on: web, live: map[string]string{`metadata.annotations["oncall-note"]`: "looking"}},
				{line: "kubectl rollout restart deployment/web", on: web, live: map[string]string{`metadata.annotations["oncall-note"]`: "looking"}},
			},
			after: []string{"kubectl annotate deployment web oncall-note-"},
		},
		{
			name: "an object is deleted", want: refused, note: "whoever asks, one by one or as a collection",
			tries: []try{
				{line: "kubectl delete deployment web", on: web, says: "to delete it, remove it there"},
				{line: "kubectl delete deployment --all", on: web, says: "to delete it, remove it there"},
				{line: "kubectl delete --raw /apis/apps/v1/namespaces/shop/deployments", on: web, says: "to delete it, remove it there"},
				{line: "kubectl delete deployment web --cascade=orphan", on: web, says: "to delete it, remove it there"},
				{line: "kubectl delete deployment web --cascade=foreground --force --grace-period=0", on: web, says: "to delete it, remove it there"},
				{line: "kubectl replace --force -f shop-git/web/deployment.yaml", on: web, says: "to delete it, remove it there"},
				{line: "kubectl --as=system:serviceaccount:kube-system:generic-garbage-collector delete deployment web", on: web, says: "to delete it, remove it there"},
			},
		},
		{
			name: "an object that is being deleted is changed", want: refused,
			before: []string{"git -C shop-git rm -q more/stuck.yaml" + push},
			tries: []try{
				{line: `kubectl wait --for=jsonpath={.metadata.deletionTimestamp} configmap/stuck && kubectl patch configmap stuck --type=merge -p '{"data":{"a":"2"}}'`, says: "data.a"},
			},
		},
		{
			name: "it is deleted again, and its finalizers are taken off", want: permitted,
			tries: []try{
				{line: "kubectl delete configmap stuck --wait=false", on: "configmap/stuck"},
				{line: `kubectl patch configmap stuck --type=merge -p '{"metadata":{"finalizers":null}}'`, on: "configmap/stuck", live: map[string]string{"metadata.name": ""}},
			},
		},
		{
			name: "an ownerReference or a finalizer is added", want: refused, note: "the garbage collector would delete it",
			tries: []try{
				{line: `kubectl patch deployment web --type=merge -p '{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"12345678-1234-1234-1234-123456789012"}]}}'`, on: web, says: "metadata.ownerReferences"},
				{line: `kubectl --as=system:serviceaccount:shop:ci patch deployment web --type=merge -p '{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"12345678-1234-1234-1234-123456789012"}]}}'`, on: web, says: "metadata.ownerReferences"},
				{line: `kubectl patch deployment web --type=merge -p '{"metadata":{"finalizers":["shop.example/wait"]}}'`, on: web, says: "metadata.finalizers"},
			},
		},
		{
			name: "a declared object is created otherwise than git says", want: refused,
			tries: []try{
				{line: "sed s/nginx:1.27/nginx:1.28/ shop-git/web/deployment.yaml | kubectl create -f -", on: web, says: "it can only be created as git says"},
				{line: "sed 's/^  name: web$/&\\n  generateName: web-/; s/8080/9090/' shop-git/web/config.yaml | kubectl create -f -", on: "configmap/web", says: "it can only be created as git says"},
			},
		},
		{
			name: "it is created as git says, or restored from a backup", want: permitted, note: "here it exists, which the API server says next",
			tries: []try{
				{line: "kubectl create -f shop-git/web/deployment.yaml", on: web, beyond: `deployments.apps "web" already exists`},
				{line: "kubectl get configmap web -o yaml | sed -e /resourceVersion/d -e /uid/d | kubectl create -f -", on: "configmap/web", beyond: `configmaps "web" already exists`},
				{line: "kubectl get configmap web -o yaml > backup.yaml && kubectl replace -f backup.yaml", on: "configmap/web"},
			},
		},
		{
			name: "an object that git does not declare", want: permitted, note: "also with a name like that of a declared one; pods are never held",
			tries: []try{
				{line: "kubectl create deployment mine --image=nginx:1.27 && kubectl scale deployment/mine --replicas=3 && kubectl delete deployment mine"},
				{line: "sed 's/name: web$/generateName: web-/' shop-git/web/config.yaml | kubectl create -f -", undo: "kubectl delete configmap -l app=web --field-selector metadata.name!=web"},
				{line: "kubectl delete " + aPod + " --wait=false"},
				{line: "kubectl create namespace mine && kubectl delete namespace mine --wait=false"},
			},
		},
		{
			name: "a copy that carries Mainstay's label", want: permitted, note: "a label that does not fit its object proves nothing",
			tries: []try{
				{line: "kubectl get deployment web -o yaml | sed -e 's/^  name: web$/  name: copy/' -e /resourceVersion/d -e /uid/d | kubectl create -f -", on: "deployment/copy", live: map[string]string{"metadata.name": "copy"}},
				{line: "kubectl set image deployment/copy web=nginx:1.28", on: "deployment/copy", live: map[string]string{image: "nginx:1.28"}},
				{line: "kubectl label endpointslices -l mainstay.dev/sync,kubernetes.io/service-name=web wave=1", says: "labeled"},
			},
			after: []string{"kubectl delete deployment copy"},
		},
		{
			name: "Mainstay's label or annotations are taken off, changed or set on a declared object", want: refused,
			tries: []try{
				{line: "kubectl label deployment web mainstay.dev/sync-", on: web, says: "mainstay.dev/sync"},
				{line: "kubectl label deployment web mainstay.dev/sync=other.123456789abc --overwrite", on: web, says: "mainstay.dev/sync"},
				{line: "kubectl annotate deployment web mainstay.dev/mode=Audit", on: web, says: "mainstay.dev/mode"},
				{line: "kubectl --as=system:serviceaccount:shop:ci annotate deployment web mainstay.dev/mode=Audit", on: web, says: "mainstay.dev/mode"},
			},
		},
		{
			name: "`scale`", want: refused, note: "as `spec.replicas` of the object",
			tries: []try{
				{line: "kubectl scale deployment/web --replicas=9", on: web, says: "spec.replicas   git: 2   asked: 9"},
				{line: "kubectl --as=system:serviceaccount:shop:ci scale deployment/web --replicas=9", on: web, says: "asked: 9"},
				{line: "kubectl patch deployment web --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":9}}'", on: web, says: "asked: 9"},
				{line: "kubectl scale widget/till --replicas=9", on: "widget/till", says: "asked: 9"},
				{line: `kubectl get --raw /apis/apps/v1/namespaces/shop/deployments/api/scale | sed 's/"spec":{"replicas":3/"spec":{"replicas":9/' | kubectl --as=system:serviceaccount:kube-system:horizontal-pod-autoscaler replace --raw /apis/apps/v1/namespaces/shop/deployments/api/scale -f -`, on: "deployment/api", says: "spec.replicas   git: (hash "},
			},
		},
		{
			name: "an autoscaler scales what it targets, within its bounds", want: permitted, note: "git's number is where it starts from",
			tries: []try{
				{line: "the horizontal pod autoscaler itself, to its minimum", on: "deployment/api", do: func(t *testing.T, s *shell) (string, error) {
					return s.run(t, "kubectl get deployment api -o jsonpath='replicas: {.spec.replicas}'")
				}, says: "replicas: 3", live: map[string]string{replicas: "3"}, soon: true},
				{line: `kubectl get --raw /apis/apps/v1/namespaces/shop/deployments/api/scale | sed 's/"spec":{"replicas":3/"spec":{"replicas":5/' | kubectl --as=system:serviceaccount:kube-system:horizontal-pod-autoscaler replace --raw /apis/apps/v1/namespaces/shop/deployments/api/scale -f -`, on: "deployment/api", live: map[string]string{replicas: "5"}},
			},
		},
		{
			name: "`status`", want: permitted, note: "of built-in kinds, and of custom ones with or without that subresource",
			tries: []try{
				{line: `kubectl patch deployment web --subresource=status --type=merge -p '{"status":{"observedGeneration":9}}'`, on: web},
				{line: `kubectl patch widget till --subresource=status --type=merge -p '{"status":{"replicas":2}}'`, on: "widget/till"},
				{line: `kubectl patch widget till --subresource=status --type=merge -p '{"metadata":{"labels":{"mainstay.dev/sync":null}},"status":{"replicas":1}}'`, on: "widget/till"},
				{line: `kubectl --as=system:serviceaccount:shop:ci patch deployment web --subresource=status --type=merge -p '{"metadata":{"annotations":{"seen":"1"}}}'`, on: web, live: map[string]string{"metadata.annotations.seen": "1"}, undo: "kubectl annotate deployment web seen-"},
				{line: `kubectl patch gadget bell --type=merge -p '{"status":{"rung":true}}'`, on: "gadget/bell", live: map[string]string{"status.rung": "true", "spec.tone": "high"}},
			},
		},
		{
			name: "metadata through `status` or `finalize`", want: refused, note: "labels, annotations, finalizers and ownerReferences are judged as in an update",
			tries: []try{
				{line: `kubectl patch deployment web --subresource=status --type=merge -p '{"metadata":{"annotations":{"tier":"front"}}}'`, on: web, says: "metadata.annotations.tier"},
				{line: `kubectl patch deployment web --subresource=status --type=merge -p '{"metadata":{"finalizers":["shop.example/wait"]},"status":{"observedGeneration":9}}'`, on: web, says: "metadata.finalizers"},
				{line: `kubectl patch deployment web --subresource=status --type=merge -p '{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"12345678-1234-1234-1234-123456789012"}]}}'`, on: web, says: "metadata.ownerReferences"},
				{line: `kubectl patch service web --subresource=status --type=merge -p '{"metadata":{"labels":{"mainstay.dev/sync":null}}}'`, on: "service/web", says: "mainstay.dev/sync"},
				{line: `kubectl patch namespace shop --subresource=status --type=merge -p '{"metadata":{"labels":{"team":"other"}}}'`, on: "namespace/shop", says: "metadata.labels.team   git: shop   asked: other"},
				{line: `kubectl get namespace shop -o json | sed 's/"team": "shop"/"team": "other"/' | kubectl replace --raw /api/v1/namespaces/shop/finalize -f -`, on: "namespace/shop", says: "metadata.labels.team   git: shop   asked: other"},
			},
		},
		{
			name: "spec through a custom resource of any kind", want: refused,
			tries: []try{
				{line: `kubectl patch widget till --type=merge -p '{"spec":{"colour":"blue"}}'`, on: "widget/till", says: "spec.colour   git: red   asked: blue"},
				{line: `kubectl patch gadget bell --type=merge -p '{"spec":{"tone":"low"},"status":{"rung":false}}'`, on: "gadget/bell", says: "spec.tone   git: high   asked: low"},
			},
		},
		{
			name: "an object is written in another version than git's", want: refused,
			tries: []try{
				{line: `kubectl patch horizontalpodautoscalers.v1.autoscaling api --type=merge -p '{"spec":{"maxReplicas":99}}'`, on: "autoscaler/api", says: "spec.maxReplicas   git: 6   asked: 99"},
				{line: `kubectl patch horizontalpodautoscalers.v2.autoscaling api --type=merge -p '{"spec":{"maxReplicas":99}}'`, on: "autoscaler/api", says: "spec.maxReplicas   git: 6   asked: 99"},
				{line: `kubectl patch widgets.v1beta1.shop.example till --type=merge -p '{"spec":{"colour":"blue"}}'`, on: "widget/till", says: "spec.colour   git: red   asked: blue"},
			},
		},
		{
			name: "a namespace with declared objects is deleted", want: refused, note: "also one that git does not declare itself",
			tries: []try{
				{line: "kubectl delete namespace shop", on: "namespace/shop", says: `namespaces "shop"`},
				{line: "kubectl delete namespace guest", on: "namespace/guest", says: `would go with it`},
			},
		},
		{
			name: "a definition with declared objects is deleted, or no longer serves their version", want: refused,
			tries: []try{
				{line: "kubectl delete customresourcedefinition widgets.shop.example", on: "definition/widgets.shop.example", says: "widgets.shop.example"},
				{line: `kubectl patch customresourcedefinition widgets.shop.example --type=json -p '[{"op":"replace","path":"/spec/versions/0/served","value":false}]'`, on: "definition/widgets.shop.example", says: "widgets.shop.example"},
			},
		},
		{
			name: "a namespace is being deleted all the same", want: permitted, note: "nothing is left in `Terminating`; then git's come back",
			before: []string{
				"kubectl -n mainstay-system create configmap mainstay-off --from-literal=reason=try",
				"kubectl delete namespace leaving --wait=false",
				"kubectl -n mainstay-system delete configmap mainstay-off",
			},
			tries: []try{
				{line: "the namespace controller deletes what is in it", do: func(t *testing.T, s *shell) (string, error) {
					return s.run(t, "kubectl get namespace leaving -o jsonpath='{.status.phase}' && kubectl -n leaving get deployment,service,configmap old")
				}, says: "Active", soon: true},
			},
		},
		{
			name: "a namespace, or a definition and its objects, leave git", want: permitted, note: "they go at once, nothing is left in `Terminating`",
			tries: []try{
				{line: "git -C shop-git rm -q -r more/leaving more/gadgets.yaml" + push},
			},
			check: func(t *testing.T, s *shell) {
				shared.Await(t, "the namespace and the definition are gone", func() (bool, string) {
					out, _ := s.run(t, "kubectl get namespace/leaving customresourcedefinition/gadgets.shop.example --ignore-not-found")
					return out == "", out
				})
			},
		},
		{
			name: "cluster-admin, `system:masters`, and whoever pretends to be Mainstay", want: refused, note: "no special treatment",
			tries: []try{
				{line: "kubectl --context=admin -n shop set image deployment/web web=nginx:1.28", on: web, says: asked},
				{line: "kubectl --as=root --as-group=system:masters delete deployment web", on: web, says: "to delete it, remove it there"},
				{line: "kubectl --as=system:serviceaccount:mainstay-system:mainstay --as-user-extra=authentication.kubernetes.io/pod-name=mainstay-0 set image deployment/web web=nginx:1.28", on: web, says: asked},
			},
		},
		{
			name: "somebody without the right", want: elsewhere, note: "RBAC is asked first",
			tries: []try{
				{line: "kubectl --as=eve delete deployment web", on: web, says: `User "eve" cannot delete resource "deployments"`},
				{line: "kubectl --as=eve apply --server-side -f shop-git/web/deployment.yaml", on: web, says: `User "eve" cannot patch resource "deployments"`},
			},
		},
		{
			name: "a Secret", want: refused, note: "no value of it is shown",
			tries: []try{
				{line: `kubectl patch secret mail --type=merge -p '{"stringData":{"password":"hunter3"}}'`, on: "secret/mail", says: "data.password   git: (hash "},
			},
		},
		{
			name: "a dry run", want: refused, note: "the same answer, of which nothing is recorded",
			tries: []try{
				{line: "kubectl set image deployment/web web=nginx:1.28 --dry-run=server", on: web, says: asked, with: unrecorded},
				{line: "kubectl delete deployment web --dry-run=server", on: web, says: "to delete it, remove it there", with: unrecorded},
			},
		},
		{
			name: "a dry run of what is permitted", want: permitted, note: "of which nothing is recorded, either",
			tries: []try{
				{line: "kubectl annotate deployment web oncall-note=only-asked --dry-run=server", on: web, with: func(t *testing.T, _ *shell, _ string) {
					log, err := os.ReadFile(shared.State.ControllerLog())
					world.Must(t, err)
					if strings.Contains(string(log), "only-asked") {
						t.Error("the ledger has it")
					}
				}},
			},
		},
		{
			name: "mode `Observe`", want: permitted, note: "and recorded; Mainstay itself writes nothing",
			tries: []try{
				{line: "kubectl create configmap observe --from-literal=a=1", on: "configmap/observe", live: map[string]string{"data.a": "1", "metadata.labels": ""}},
				{line: `kubectl patch configmap observe --type=merge -p '{"data":{"a":"2"}}'`, on: "configmap/observe", live: map[string]string{"data.a": "2", "metadata.labels": ""}},
				{line: "kubectl delete configmap observe", on: "configmap/observe", live: map[string]string{"data.a": "", "metadata.labels": ""}},
			},
			check: wouldBeRefused("observe"),
		},
		{
			name: "mode `Warn`", want: warned,
			tries: []try{
				{line: `kubectl patch configmap warn --type=merge -p '{"data":{"a":"2"}}'`, on: "configmap/warn", says: `would be refused: data.a`, live: map[string]string{"data.a": "2"}},
				{line: "kubectl delete configmap warn", on: "configmap/warn", says: "would be refused: git declares it", live: map[string]string{"data.a": ""}},
			},
		},
		{
			name: "mode `Audit`", want: permitted, note: "and recorded",
			tries: []try{
				{line: `kubectl patch configmap audit --type=merge -p '{"data":{"a":"2"}}'`, on: "configmap/audit", live: map[string]string{"data.a": "2"}},
			},
			check: wouldBeRefused("audit"),
		},
		{
			name: "an object with the annotation `mainstay.dev/mode: Audit` in git", want: permitted, note: "and recorded, though its GitSync enforces",
			tries: []try{
				{line: `kubectl patch configmap relaxed --type=merge -p '{"data":{"a":"2"}}'`, on: "configmap/relaxed", live: map[string]string{"data.a": "2"}},
			},
			check: wouldBeRefused("relaxed"),
		},
		{
			name: "a service account changes declared and other fields where a GitSync says `controllers: Correct`", want: corrected, note: "git's values stay, the rest goes through",
			tries: []try{
				{line: `kubectl --as=system:serviceaccount:shop:ci patch deployment correct --type=merge -p '{"metadata":{"annotations":{"build":"17"}},"spec":{"replicas":9}}'`, on: "deployment/correct", live: map[string]string{"metadata.annotations.build": "17", replicas: "2"}},
				{line: "kubectl --as=system:serviceaccount:shop:ci set image deployment/correct correct=nginx:1.28", on: "deployment/correct", live: map[string]string{"spec.template.spec.containers[name=correct].image": "nginx:1.27"}},
			},
		},
		{
			name: "a person does", want: refused,
			tries: []try{
				{line: "kubectl set image deployment/correct correct=nginx:1.28", on: "deployment/correct", says: asked},
			},
		},
		{
			name: "a kind that no webhook sees", want: reverted, note: "the six kinds of admissionregistration.k8s.io",
			tries: []try{
				{line: "kubectl label validatingwebhookconfiguration shop-checks team=other --overwrite", on: "validatingwebhook/shop-checks"},
				{line: "kubectl delete validatingwebhookconfiguration shop-checks", on: "validatingwebhook/shop-checks"},
			},
		},
		{
			name: "`exec`, `attach`, `debug`, `resize`, eviction and the like", want: permitted, note: "not changes to what git declares: no webhook is registered for them",
			tries: []try{
				{line: "kubectl exec deployment/web -- sh", beyond: "does not have a host assigned"},
				{line: "kubectl attach deployment/web", beyond: "does not have a host assigned"},
				{line: "pod=" + aPod + "; kubectl get --raw /api/v1/namespaces/shop/${pod/pod/pods}/portforward", beyond: "does not have a host assigned"},
				{line: "kubectl debug " + aPod + " --image=busybox", says: "debug"},
				{line: "kubectl patch " + aPod + ` --subresource=resize -p '{"spec":{"containers":[{"name":"web","resources":{"requests":{"cpu":"60m"}}}]}}'`, says: "patched"},
				{line: "pod=" + aPod + `; echo '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"'${pod#pod/}'"}}' | kubectl create --raw /api/v1/namespaces/shop/${pod/pod/pods}/eviction -f -`, says: `"Success"`},
			},
		},
		{
			name: "the same where a policy denies it, in a pod of a declared workload", want: refused,
			before: []string{"kubectl apply -f test/admission/testdata/no-exec.yaml"},
			tries: []try{
				{line: "kubectl exec deployment/web -- sh", says: alone, soon: true},
				{line: "kubectl attach deployment/web", says: alone},
				{line: "pod=" + aPod + "; kubectl get --raw /api/v1/namespaces/shop/${pod/pod/pods}/portforward", says: alone},
				{line: "kubectl debug " + aPod + " --image=busybox", says: alone},
				{line: "kubectl patch " + aPod + ` --subresource=resize -p '{"spec":{"containers":[{"name":"web","resources":{"requests":{"cpu":"60m"}}}]}}'`, says: alone},
				{line: "pod=" + aPod + `; echo '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"'${pod#pod/}'"}}' | kubectl create --raw /api/v1/namespaces/shop/${pod/pod/pods}/eviction -f -`, says: alone},
			},
		},
		{
			name: "and in a pod that is none of git's", want: permitted,
			before: []string{"kubectl run free --image=nginx:1.27"},
			tries: []try{
				{line: "kubectl exec free -- sh", beyond: "does not have a host assigned"},
				{line: "kubectl debug free --image=busybox", says: "debug"},
				{line: `echo '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"free"}}' | kubectl create --raw /api/v1/namespaces/shop/pods/free/eviction -f -`, says: `"Success"`},
			},
			after: []string{"kubectl delete -f test/admission/testdata/no-exec.yaml"},
		},
		{
			name: "a replica that does not know the object yet, but its label", want: refused, note: "409, try again: what is unknown to a replica that lags behind is not undeclared",
			tries: []try{
				{line: "a review of `web` sent to a webhook that has not loaded the inventory", do: lagging, says: "catching up"},
			},
		},
		{
			name: "a GitSync is suspended by whoever has the verb, and an object of its is changed", want: warned, note: "and recorded; at the end git's values come back",
			before: []string{`kubectl -n mainstay-system annotate gitsync reject mainstay.dev/suspend="1h INC-4711"`},
			tries: []try{
				{line: `kubectl patch configmap reject --type=merge -p '{"data":{"a":"2"}}'`, on: "configmap/reject", says: "is suspended until", live: map[string]string{"data.a": "2"}},
			},
			after: []string{"kubectl -n mainstay-system annotate gitsync reject mainstay.dev/suspend-"},
		},
		{
			name: "a GitSync is suspended without the verb, or made without an account outside of Mainstay's namespace; a BreakGlass is asked for in another's name", want: refused,
			tries: []try{
				{line: `kubectl --as=dora -n mainstay-system annotate gitsync shop mainstay.dev/suspend="1h because"`, on: "gitsync/mainstay-system/shop", says: "suspend"},
				{line: `sed -e s/mainstay-system/shop/ -e "s|REPO|$MAINSTAY_REPO|" test/admission/testdata/gitsyncs.yaml | kubectl create -f -`, says: "spec.serviceAccountName is required"},
				{line: "kubectl create -f test/admission/testdata/breakglass.yaml", says: "spec.requestedBy"},
			},
		},
		{
			name: "Mainstay's own records", want: refused, note: "in its own namespace, too",
			tries: []try{
				{line: `kubectl -n mainstay-system patch gitsync shop --subresource=status --type=merge -p '{"status":{"lastAppliedRevision":"main@sha1:0"}}'`, on: "gitsync/mainstay-system/shop", says: "only Mainstay itself writes its status"},
				{line: "kubectl -n mainstay-system create token mainstay", says: "a token of Mainstay's account"},
				{line: "kubectl -n mainstay-system label secret mainstay-key a=b", on: "secret/mainstay-system/mainstay-key", says: "only Mainstay itself writes it"},
				{line: "kubectl -n mainstay-system delete inventory shop", on: "inventory/mainstay-system/shop", says: "only Mainstay itself writes it"},
				{line: "kubectl -n mainstay-system delete secret mainstay-key", on: "secret/mainstay-system/mainstay-key", says: "only Mainstay itself writes it"},
				{line: "kubectl -n mainstay-system delete secret --field-selector type=mainstay.dev/inventory", says: "only Mainstay itself writes it"},
				{line: "kubectl -n mainstay-system annotate changepolicy gitsync-shop a=b", on: "changepolicy/mainstay-system/gitsync-shop", says: "change the policies there"},
			},
		},
	}
}

// decision finds the id of a decision in a refusal or a warning.
var decision = regexp.MustCompile(`(?m)(?:decision:   |\()([a-z0-9]{7})\)?$`)

// unrecorded fails the test where the decision of a refusal is in an Event or in
// the ledger.
func unrecorded(t *testing.T, s *shell, out string) {
	found := decision.FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("it names no decision: %s", out)
	}
	events, err := s.run(t, "kubectl get events -A -o yaml")
	world.Must(t, err)
	log, err := os.ReadFile(shared.State.ControllerLog())
	world.Must(t, err)
	if strings.Contains(events, found[1]) || strings.Contains(string(log), found[1]) {
		t.Errorf("decision %s is recorded", found[1])
	}
}

// lagging sends a review of an update to a webhook whose index knows the GitSync
// and none of its objects.
func lagging(t *testing.T, s *shell) (string, error) {
	index := ownership.NewIndex()
	head := &ownership.Sync{Namespace: "mainstay-system", Name: "shop", Mode: v1alpha1.ModeEnforce, Generation: 1}
	world.Must(t, index.Replace(head, nil))
	nobody := new(unasked)
	token := strings.Repeat("0", 32)
	handler, err := webhook.New(webhook.Options{
		Index: index, Judge: nobody, Recorder: nobody, Permits: nobody,
		Namespace: "mainstay-system", SyncAccount: "system:serviceaccount:mainstay-system:mainstay", Token: token,
	})
	world.Must(t, err)
	live, err := s.run(t, "kubectl get deployment web -o json")
	world.Must(t, err)
	review := fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"UPDATE",
		"kind":{"group":"apps","version":"v1","kind":"Deployment"},"resource":{"group":"apps","version":"v1","resource":"deployments"},
		"namespace":"shop","name":"web","userInfo":{"username":"alice"},"oldObject":%s,"object":%s}}`,
		live, strings.ReplaceAll(live, "nginx:1.27", "nginx:1.28"))
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, webhook.Path(token, webhook.EntryHeld)+"?timeout=3s", strings.NewReader(review))
	request.Header.Set("Content-Type", "application/json")
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	var answer admissionv1.AdmissionReview
	world.Must(t, json.Unmarshal(response.Body.Bytes(), &answer))
	if answer.Response.Allowed {
		return "", nil
	}
	return answer.Response.Result.Message, &apierrors.StatusError{ErrStatus: *answer.Response.Result}
}

// unasked stands for what a webhook must not ask about an object that it does
// not know.
type unasked struct{}

func (*unasked) Prompt(*policy.Change) bool { return false }

func (*unasked) Decide(context.Context, *policy.Change) policy.Decision {
	panic("asked to judge")
}

func (*unasked) Record(*policy.Change, policy.Decision) { panic("asked to record") }

func (*unasked) Keep(context.Context, *policy.Change, policy.Decision) error {
	panic("asked to keep a permit")
}

// wouldBeRefused awaits the Event that says so of an object.
func wouldBeRefused(object string) func(t *testing.T, s *shell) {
	return func(t *testing.T, s *shell) {
		shared.Await(t, "an Event says that it would be refused", func() (bool, string) {
			out, err := s.run(t, "kubectl get events --field-selector reason=ChangeWouldBeRefused,involvedObject.name="+object)
			return err == nil && strings.Contains(out, "alice: "), out
		})
	}
}
