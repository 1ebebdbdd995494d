// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"context"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/test/world"
)

const (
	autoscaler = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
	bounds     = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: NS}
spec:
  minReplicas: 2
  maxReplicas: 4
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
`
)

// subresources are the doors beside the main one.
func subresources() []*row {
	return []*row{
		{
			id:     "3c scale",
			threat: "/scale, whose requests carry no label",
			how:    "kubectl scale, a patch and an update of the subresource, in the name of the autoscaler, to nothing",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					"scale deployment/web --replicas=9":   "spec.replicas   git: 2   asked: 9",
					"scale deployment/web --replicas=0":   "spec.replicas   git: 2   asked: 0",
					"scale deployment --all --replicas=9": "spec.replicas   git: 2   asked: 9",
				})
				a.refused(tries{
					`patch deployment web --subresource=scale --type=merge -p={"spec":{"replicas":9}}`:                             "spec.replicas   git: 2   asked: 9",
					`patch deployment web --subresource=scale --type=json -p=[{"op":"replace","path":"/spec/replicas","value":9}]`: "spec.replicas   git: 2   asked: 9",
				})
				out, err := a.scaled(pretended(autoscaler), 3)
				a.denied("as the autoscaler, of which there is none", out, err, "spec.replicas   git: 2   asked: 3")
				out, err = a.scaled(rest.ImpersonationConfig{}, 9)
				a.denied("an update of the subresource", out, err, "spec.replicas   git: 2   asked: 9")
			},
		},
		{
			id:      "3c autoscaler",
			threat:  "the name of the autoscaler, which an exception is for",
			how:     "kubectl scale --as the autoscaler's account, below, within and above the bounds of a declared autoscaler",
			want:    bounded,
			because: "whoever takes its name gains what it may do: a number within the bounds that git sets",
			objects: bounds,
			try: func(a *attempt) {
				for _, replicas := range []int32{1, 5, 0} {
					out, err := a.scaled(pretended(autoscaler), replicas)
					a.denied("beyond the bounds", out, err, "spec.replicas")
				}
				for _, name := range []string{autoscaler + "-2", "system:serviceaccount:" + a.namespace + ":horizontal-pod-autoscaler", "horizontal-pod-autoscaler"} {
					out, err := a.scaled(pretended(name), 3)
					a.denied("as "+name, out, err, "spec.replicas")
				}
				a.refused(tries{
					"--as=" + autoscaler + " --as-group=system:masters set image deployment/web web=nginx:1.28": asked,
					"scale deployment/web --replicas=3": "spec.replicas",
				})
				if out, err := a.scaled(pretended(autoscaler), 3); err != nil {
					a.Errorf("within the bounds: %s", out)
				}
				a.result.tries++
			},
		},
		{
			id:      "3c autoscaler by hand",
			threat:  "an autoscaler that git does not declare, to move the replicas with",
			how:     "a HorizontalPodAutoscaler of alice's own with a minimum of 3; then kubectl scale beyond its maximum",
			want:    bounded,
			because: "who may make an autoscaler may choose the number of replicas, and nothing else",
			try: func(a *attempt) {
				a.must("alice", strings.ReplaceAll(bounds, "minReplicas: 2", "minReplicas: 3"), "create -f -")
				shared.Await(a.T, "the autoscaler scales to its minimum", func() (bool, string) {
					out, err := a.kubectl("alice", "", "get deployment web -o jsonpath={.spec.replicas}")
					return err == nil && out == "3", out
				})
				out, err := a.scaled(pretended(autoscaler), 5)
				a.denied("beyond its bounds", out, err, "spec.replicas")
				a.refused(tries{"scale deployment/web --replicas=4": "spec.replicas"})
				a.slipped()
				a.must("alice", "", "delete horizontalpodautoscaler web")
				a.repaired() // the number goes with its reason
			},
		},
		{
			id:      "3c status",
			threat:  "a change of the spec through /status",
			how:     "replicas, image and status sent to /status of a Deployment; to /status of a Service",
			want:    ignored,
			because: "the API server takes the status alone from there, and no one holds that",
			objects: "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n",
			try: func(a *attempt) {
				a.works(
					`patch deployment web --subresource=status --type=merge -p={"spec":{"replicas":9},"status":{"replicas":9}}`,
					`patch service web --subresource=status --type=merge -p={"spec":{"selector":{"app":"other"}},"status":{"loadBalancer":{}}}`,
				)
			},
		},
		{
			id:     "3c metadata by status",
			threat: "labels, annotations, finalizers and owners changed through /status, which most kinds let through",
			how:    "each of the four through /status of a Deployment, a Service, a disruption budget, an autoscaler and a Namespace, and through a Namespace's /finalize",
			want:   refused,
			objects: "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n---\n" +
				"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web, namespace: NS}\nspec: {minAvailable: 1, selector: {matchLabels: {app: web}}}\n---\n" +
				bounds,
			try: func(a *attempt) {
				const strip = ` --subresource=status --type=merge -p={"metadata":{"labels":{"mainstay.dev/sync":null}}}`
				const label = `mainstay.dev/sync`
				a.refused(tries{
					"patch service web" + strip:                 label,
					"patch poddisruptionbudget web" + strip:     label,
					"patch horizontalpodautoscaler web" + strip: label,
					"patch namespace NS" + strip:                label,
				})
				for _, object := range []string{"deployment web", "service web", "namespace NS"} {
					patch := "patch " + object + " --subresource=status --type=merge -p="
					a.refused(tries{
						patch + `{"metadata":{"annotations":{"a":"b"}}}`:           "metadata.annotations.a",
						patch + `{"metadata":{"finalizers":["example.org/x"]}}`:    "metadata.finalizers",
						patch + `{"metadata":{"ownerReferences":[` + owner + `]}}`: "metadata.ownerReferences",
					})
				}
				a.refusedFor("alice", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"NS"},"spec":{"finalizers":["kubernetes"]}}`,
					tries{"replace --raw /api/v1/namespaces/NS/finalize -f -": label})
			},
		},
		{
			id:      "3c pods",
			threat:  "a declared workload changed by way of its pods",
			how:     "exec, attach, portforward, eviction, ephemeralcontainers and resize of a pod of a declared Deployment, while a deny rule asks for them",
			want:    refused,
			because: "without such a rule they are permitted, and no webhook is asked",
			objects: strings.NewReplacer("name: web,", "name: sized,", "app: web", "app: sized", `image: "nginx:1.27"`, `image: "nginx:1.27", resources: {requests: {cpu: 20m}}`).Replace(manifest),
			try: func(a *attempt) {
				var pod string
				shared.Await(a.T, "there is a pod", func() (bool, string) {
					out, err := a.kubectl("admin", "", "get pods -l app=sized -o jsonpath={.items[0].metadata.name}")
					pod = out
					return err == nil && out != "", out
				})
				if out, err := a.kubectl("alice", "", "exec "+pod+" -- true"); err == nil || strings.Contains(out, "denied the request") {
					a.Errorf("without a rule: %s", out)
				}
				a.policy("mainstay-system", `package NAME

deny contains {"reason": "hands off these pods"} if {
	input.namespace == "NS"
	input.subResource in {"exec", "attach", "portforward", "eviction", "ephemeralcontainers", "resize"}
}
`)
				const say = "hands off these pods"
				shared.Await(a.T, "the rule is in force", func() (bool, string) {
					out, err := a.kubectl("alice", "", "exec "+pod+" -- true")
					return err != nil && strings.Contains(out, say), out
				})
				path := "/api/v1/namespaces/NS/pods/" + pod
				a.refused(tries{
					"exec " + pod + " -- true":          say,
					"attach " + pod:                     say,
					"debug " + pod + " --image=busybox": say,
					"patch pod " + pod + ` --subresource=resize --type=strategic -p={"spec":{"containers":[{"name":"sized","resources":{"requests":{"cpu":"10m"}}}]}}`: say,
				})
				a.refusedFor("alice", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"`+pod+`","namespace":"NS"}}`,
					tries{"create --raw " + path + "/eviction -f -": say})
				out, err := a.kubectl("alice", "{}", "create --raw "+path+"/portforward?ports=80 -f -")
				a.denied("portforward", out, err, say)
			},
		},
		{
			id:      "3c finalize",
			threat:  "the namespace's own finalizer taken off, so that its content stays behind when it goes",
			how:     "a namespace without spec.finalizers, without spec and with another finalizer sent to its /finalize; the first as system:masters, too",
			want:    refused,
			because: "the namespace controller takes it off once the namespace is being deleted",
			try: func(a *attempt) {
				const path, say = "replace --raw /api/v1/namespaces/NS/finalize -f -", "spec.finalizers"
				finalizers := func(names ...string) string {
					return string(a.object("namespace NS", func(o map[string]any) { o["spec"] = map[string]any{"finalizers": names} }))
				}
				a.refusedFor("alice", finalizers(), tries{path: say})
				a.refusedFor("admin", finalizers(), tries{path: say})
				a.refusedFor("alice", finalizers("kubernetes", "example.org/x"), tries{path: say})
				a.refusedFor("alice", string(a.object("namespace NS", func(o map[string]any) { delete(o, "spec") })), tries{path: say})
				a.must("alice", finalizers("kubernetes"), path) // it is what it was
			},
		},
	}
}

// scaled updates /scale as a client does, by alice in whose name she likes.
func (a *attempt) scaled(impersonate rest.ImpersonationConfig, replicas int32) (string, error) {
	a.Helper()
	deployments := a.as("alice", impersonate).AppsV1().Deployments(a.namespace)
	for {
		scale, err := deployments.GetScale(a.Context(), "web", metav1.GetOptions{})
		world.Must(a.T, err)
		scale.Spec = autoscalingv1.ScaleSpec{Replicas: replicas}
		_, err = deployments.UpdateScale(context.WithoutCancel(a.Context()), "web", scale, metav1.UpdateOptions{})
		if err == nil || strings.Contains(err.Error(), "denied the request") || !apierrors.IsConflict(err) {
			return text(err), err
		} // else the deployment's controller was faster
	}
}

// pretended is a user who may do everything, under another name.
func pretended(name string) rest.ImpersonationConfig {
	return rest.ImpersonationConfig{UserName: name, Groups: []string{"system:masters"}}
}
