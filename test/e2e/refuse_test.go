// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

const held = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "nginx:1.27"}
`

// app pushes a namespace with the Deployment web in it.
func app(t *testing.T, namespace string, more ...string) {
	t.Helper()
	files := map[string]string{
		namespace + "/namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n",
		namespace + "/web.yaml":       strings.ReplaceAll(held, "NS", namespace),
	}
	for i := 0; i+1 < len(more); i += 2 {
		files[namespace+"/"+more[i]] = strings.ReplaceAll(more[i+1], "NS", namespace)
	}
	shared.Pushed(t, files)
	t.Cleanup(func() {
		if !t.Failed() {
			shared.Removed(t, namespace)
		}
	})
}

// web is the Deployment that app declares.
func web(t *testing.T, namespace string) *appsv1.Deployment {
	t.Helper()
	d := new(appsv1.Deployment)
	world.Must(t, shared.Client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: "web"}, d))
	return d
}

func TestAliceIsRefused(t *testing.T) {
	const ns = "refused"
	app(t, ns)
	before := web(t, ns)
	manifest := strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")
	live, err := shared.Kubectl(t, "alice", "", "-n", ns, "get", "deployment", "web", "-o", "yaml")
	world.Must(t, err)
	changed := strings.ReplaceAll(live, "nginx:1.27", "nginx:1.28")

	// A namespace is held itself and holds others: two entries refuse its
	// deletion, and whichever answers first is heard.
	for name, tt := range map[string]struct {
		stdin string
		args  string
		say   string
	}{
		"kubectl set image":                       {"", "set image deployment/web web=nginx:1.28", "containers[name=web].image   git: nginx:1.27   asked: nginx:1.28"},
		"kubectl edit":                            {"", "edit deployment web", "spec.replicas   git: 2   asked: 5"},
		"a JSON patch":                            {"", `patch deployment web --type=json -p=[{"op":"replace","path":"/spec/replicas","value":5}]`, "spec.replicas"},
		"a merge patch":                           {"", `patch deployment web --type=merge -p={"spec":{"replicas":5}}`, "spec.replicas"},
		"a strategic merge patch":                 {"", `patch deployment web --type=strategic -p={"spec":{"replicas":5}}`, "spec.replicas"},
		"server-side apply that takes over":       {manifest, "apply --server-side --force-conflicts -f -", "asked: nginx:1.28"},
		"client-side apply":                       {manifest, "apply -f -", "asked: nginx:1.28"},
		"kubectl replace":                         {changed, "replace -f -", "asked: nginx:1.28"},
		"kubectl replace --force":                 {manifest, "replace --force -f -", "to delete it, remove it there"},
		"kubectl delete":                          {"", "delete deployment web", "to delete it, remove it there"},
		"kubectl delete --all":                    {"", "delete deployment --all", "to delete it, remove it there"},
		"a deletion of the collection":            {"", "delete --raw /apis/apps/v1/namespaces/" + ns + "/deployments", "to delete it, remove it there"},
		"kubectl delete --cascade=orphan":         {"", "delete deployment web --cascade=orphan", "to delete it, remove it there"},
		"kubectl scale":                           {"", "scale deployment/web --replicas=9", "spec.replicas   git: 2   asked: 9"},
		"a label":                                 {"", "label deployment web a=b", "metadata.labels.a"},
		"an annotation":                           {"", "annotate deployment web a=b", "metadata.annotations.a"},
		"an environment variable":                 {"", "set env deployment/web A=b", "env[name=A]"},
		"a sidecar":                               {"", `patch deployment web --type=json -p=[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"side","image":"x"}}]`, "containers[name=side]"},
		"an owner reference, for the collector":   {"", `patch deployment web --type=merge -p={"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"x","uid":"12345678-1234-1234-1234-123456789012"}]}}`, "metadata.ownerReferences"},
		"a finalizer":                             {"", `patch deployment web --type=merge -p={"metadata":{"finalizers":["example.org/x"]}}`, "metadata.finalizers"},
		"taking the ownership label off":          {"", "label deployment web mainstay.dev/sync-", "mainstay.dev/sync"},
		"wiping the managed fields":               {"", `patch deployment web --type=json -p=[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`, "managedFields"},
		"a dry run, like the change itself":       {"", "set image deployment/web web=nginx:1.28 --dry-run=server", "asked: nginx:1.28"},
		"deleting the namespace":                  {"", "delete namespace " + ns, `namespaces "refused"`},
		"rollout undo, which is no restart":       {"", `patch deployment web --type=json -p=[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"nginx:1.26"}]`, "asked: nginx:1.26"},
		"a restart that pretends another time":    {"", `patch deployment web --type=merge -p={"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2020-01-01T00:00:00Z"}}}}}`, "restartedAt"},
		"pausing the rollout":                     {"", "rollout pause deployment/web", "spec.paused"},
		"a write in the name of the sync account": {"", "--as=system:serviceaccount:mainstay-system:mainstay set image deployment/web web=nginx:1.28", "asked: nginx:1.28"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBE_EDITOR", `sed -i s/replicas:\ 2/replicas:\ 5/`)
			args := append([]string{"-n", ns}, fields(tt.args)...)
			out, err := shared.Kubectl(t, "alice", tt.stdin, args...)
			if err == nil {
				t.Fatalf("permitted: %s", out)
			}
			if !strings.Contains(out, "denied the request") || !strings.Contains(out, tt.say) {
				t.Errorf("kubectl said %q, want the refusal with %q", out, tt.say)
			}
			now := web(t, ns)
			if now.UID != before.UID || now.Generation != before.Generation || now.Spec.Template.Spec.Containers[0].Image != "nginx:1.27" {
				t.Errorf("the object has changed all the same: %+v", now.ObjectMeta)
			}
		})
	}
	for name, tt := range map[string]struct {
		stdin string
		args  string
	}{
		"applying what git says":              {strings.ReplaceAll(held, "NS", ns), "apply --server-side --force-conflicts -f -"},
		"applying what git says, client-side": {strings.ReplaceAll(held, "NS", ns), "apply -f -"},
		"reading":                             {"", "get deployment web"},
		"a restart":                           {"", "rollout restart deployment/web"},
	} {
		t.Run("permitted: "+name, func(t *testing.T) {
			if out, err := shared.Kubectl(t, "alice", tt.stdin, append([]string{"-n", ns}, fields(tt.args)...)...); err != nil {
				t.Errorf("refused: %s", out)
			}
		})
	}
}

// fields splits a command line at spaces; JSON in it has none.
func fields(line string) []string { return strings.Fields(line) }

func TestAnUndeclaredObjectIsFree(t *testing.T) {
	const ns = "free"
	app(t, ns)
	mine := strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "web", "mine")
	for _, step := range []struct{ stdin, args string }{
		{mine, "apply -f -"},
		{"", "set image deployment/mine mine=nginx:1.28"},
		{"", `patch deployment mine --type=json -p=[{"op":"replace","path":"/spec/replicas","value":5}]`},
		{mine, "apply --server-side --force-conflicts -f -"},
		{"", "scale deployment/mine --replicas=3"},
		{"", "label deployment mine a=b"},
		{"", "set env deployment/mine A=b"},
		{"", "rollout restart deployment/mine"},
		{"", "delete deployment mine"},
	} {
		if out, err := shared.Kubectl(t, "alice", step.stdin, append([]string{"-n", ns}, fields(step.args)...)...); err != nil {
			t.Errorf("%s: %s", step.args, out)
		}
	}
}

func TestARestartStays(t *testing.T) {
	const ns = "restart"
	app(t, ns)
	out, err := shared.Kubectl(t, "alice", "", "-n", ns, "rollout", "restart", "deployment/web")
	if err != nil {
		t.Fatal(out)
	}
	restarted := func() string {
		return web(t, ns).Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"]
	}
	at := restarted()
	if at == "" {
		t.Fatal("kubectl rollout restart has set no annotation")
	}
	// It survives a commit that changes the object, and a restart of Mainstay.
	shared.Pushed(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")})
	if got := restarted(); got != at {
		t.Errorf("after a commit restartedAt = %q, want %q", got, at)
	}
	world.Must(t, shared.Controller(t).Stop(t.Context(), 0))
	shared.Restart(t)
	shared.Pushed(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.29")})
	d := web(t, ns)
	if got := restarted(); got != at || d.Spec.Template.Spec.Containers[0].Image != "nginx:1.29" {
		t.Errorf("after a restart of Mainstay restartedAt = %q, want %q; image %s", got, at, d.Spec.Template.Spec.Containers[0].Image)
	}
}

func TestTheDeploymentControllerWorks(t *testing.T) {
	const ns = "rollout"
	app(t, ns)
	shared.Await(t, "the revision annotation and the status are there", func() (bool, string) {
		d := web(t, ns)
		return d.Annotations["deployment.kubernetes.io/revision"] == "1" && d.Status.ObservedGeneration == d.Generation, d.ResourceVersion
	})
	shared.Pushed(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")})
	shared.Await(t, "the rollout has begun", func() (bool, string) {
		d := web(t, ns)
		return d.Annotations["deployment.kubernetes.io/revision"] == "2", d.Annotations["deployment.kubernetes.io/revision"]
	})
}

const migration = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: NS}
spec:
  ttlSecondsAfterFinished: 0
  template: {spec: {restartPolicy: Never, containers: [{name: migrate, image: "migrate:1"}]}}
`

func TestAJobIsCollectedAsItSaysAndNotMadeAgain(t *testing.T) {
	const ns = "migration"
	app(t, ns, "job.yaml", migration)
	job := client.ObjectKey{Namespace: ns, Name: "migrate"}
	if out, err := shared.Kubectl(t, "alice", "", "-n", ns, "delete", "job", "migrate"); err == nil || !strings.Contains(out, "denied the request") {
		t.Errorf("alice deletes it: %s", out)
	}
	pods := new(corev1.PodList)
	shared.Await(t, "its pod is there", func() (bool, string) {
		world.Must(t, shared.Client.List(t.Context(), pods, client.InNamespace(ns), client.MatchingLabels{"job-name": "migrate"}))
		return len(pods.Items) == 1, ""
	})
	pods.Items[0].Status.Phase = corev1.PodSucceeded // there is no node to run it
	world.Must(t, shared.Client.Status().Update(t.Context(), &pods.Items[0]))
	shared.Await(t, "it is collected", func() (bool, string) {
		err := shared.Client.Get(t.Context(), job, new(batchv1.Job))
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	shared.Pushed(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")})
	if err := shared.Client.Get(t.Context(), job, new(batchv1.Job)); !apierrors.IsNotFound(err) {
		t.Errorf("after a commit that does not change it: %v, want it not made again", err)
	}
}

const autoscaler = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: NS}
spec:
  minReplicas: 4
  maxReplicas: 6
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
`

func TestAnAutoscalersReplicasSurvive(t *testing.T) {
	const ns = "scaled"
	app(t, ns, "hpa.yaml", autoscaler)
	scaled := func() (bool, string) {
		d := web(t, ns)
		return *d.Spec.Replicas == 4, d.ResourceVersion
	}
	shared.Await(t, "the autoscaler scales to its minimum", scaled)
	next := func(image string) {
		t.Helper()
		shared.Pushed(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", image)})
		if d := web(t, ns); *d.Spec.Replicas != 4 || d.Spec.Template.Spec.Containers[0].Image != image {
			t.Errorf("replicas %d, image %s; want 4 and %s", *d.Spec.Replicas, d.Spec.Template.Spec.Containers[0].Image, image)
		}
	}
	next("nginx:1.28")
	world.Must(t, shared.Controller(t).Stop(t.Context(), 0))
	shared.Restart(t)
	next("nginx:1.29")
	// What the autoscaler may, alice may not.
	out, err := shared.Kubectl(t, "alice", "", "-n", ns, "scale", "deployment/web", "--replicas=5")
	if err == nil || !strings.Contains(out, "scale.mainstay.dev") {
		t.Errorf("alice scaled: %s", out)
	}
}

func TestAPushIsLiveWithinTwoSecondsAndARemovalPrunes(t *testing.T) {
	const ns = "pushes"
	app(t, ns)
	shared.Push(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")})
	took := shared.Await(t, "the image is live", func() (bool, string) {
		d := web(t, ns)
		return d.Spec.Template.Spec.Containers[0].Image == "nginx:1.28", d.ResourceVersion
	})
	t.Logf("live after %s", took)
	if took > 5*time.Second { // two seconds on an idle machine
		t.Errorf("live after %s", took)
	}
	shared.Removed(t, ns+"/web.yaml")
	d := new(appsv1.Deployment)
	if err := shared.Client.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "web"}, d); !apierrors.IsNotFound(err) {
		t.Errorf("web was not pruned: %v", err)
	}
}

func TestWhatHappensInAGapIsReverted(t *testing.T) {
	const ns = "gap"
	app(t, ns)
	gap := func(t *testing.T, change func() error) {
		t.Helper()
		for range 50 {
			_, err := shared.Kubectl(t, "admin", "", "delete", "validatingwebhookconfiguration", "mainstay", "--ignore-not-found")
			world.Must(t, err)
			if change() == nil {
				return
			}
		}
		t.Fatal("nothing has slipped through: the configuration came back too fast")
	}
	t.Run("a deleted object comes back", func(t *testing.T) {
		before := web(t, ns)
		remove := func() error { return shared.Client.Delete(t.Context(), before) }
		// The configuration comes back so fast that kubectl is too slow.
		off(t, remove)
		shared.Await(t, "web is there again", func() (bool, string) {
			d := new(appsv1.Deployment)
			err := shared.Client.Get(t.Context(), client.ObjectKeyFromObject(before), d)
			return err == nil && d.UID != before.UID && d.DeletionTimestamp.IsZero(), ""
		})
	})
	t.Run("an edit of the configuration is taken back", func(t *testing.T) {
		patch := `-p=[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"},{"op":"replace","path":"/webhooks/0/rules","value":[]}]`
		out, err := shared.Kubectl(t, "admin", "", "patch", "validatingwebhookconfiguration", "mainstay", "--type=json", patch)
		if err != nil {
			t.Fatal(out)
		}
		took := shared.Await(t, "it fails closed again, for the declared resources", func() (bool, string) {
			out, err := shared.Kubectl(t, "admin", "", "get", "validatingwebhookconfiguration", "mainstay",
				"-o", "jsonpath={.webhooks[0].failurePolicy} {.webhooks[0].rules[*].resources}")
			return err == nil && strings.HasPrefix(out, "Fail ") && strings.Contains(out, "deployments"), out
		})
		t.Logf("back after at most %s", took)
	})
	t.Run("the configuration comes back", func(t *testing.T) {
		gap(t, func() error { return nil })
		shared.Await(t, "alice is refused again", func() (bool, string) {
			out, err := shared.Kubectl(t, "alice", "", "-n", ns, "scale", "deployment/web", "--replicas=9", "--dry-run=server")
			return err != nil && strings.Contains(out, "denied"), out
		})
	})
}

func TestMainstaysOwnRecordsAreProtected(t *testing.T) {
	for name, args := range map[string]string{
		"the inventory can't be deleted":                "-n mainstay-system delete inventory shop",
		"the inventory can't be edited":                 `-n mainstay-system patch inventory shop --type=merge -p={"data":{"objects":1}}`,
		"the sealing key can't be deleted":              "-n mainstay-system delete secret mainstay-key",
		"what comes from git can't be edited elsewhere": `-n mainstay-system patch changepolicy gitsync-shop --type=merge -p={"spec":{"modules":{"x.rego":""}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			out, err := shared.Kubectl(t, "admin", "", fields(args)...)
			if err == nil || !strings.Contains(out, "denied the request") {
				t.Errorf("kubectl said %q, want a refusal", out)
			}
		})
	}
	var secrets corev1.SecretList
	world.Must(t, shared.Client.List(t.Context(), &secrets, client.InNamespace("mainstay-system")))
	for _, s := range secrets.Items {
		if s.Type != v1alpha1.SecretTypeInventory {
			continue
		}
		if err := shared.Client.Delete(t.Context(), &s); err == nil {
			t.Errorf("chunk %s could be deleted", s.Name)
		}
	}
}
