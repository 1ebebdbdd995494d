// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// kill ends the controller as a node that fails does. It runs again when the
// test is over, at the latest.
func kill(t *testing.T) {
	t.Helper()
	world.Must(t, shared.Controller(t).Stop(t.Context(), 0))
	t.Cleanup(func() { shared.RestartIfDown(t) })
}

// run is kubectl of a user, or of an account of the system, in a namespace, by
// a line without quotes.
func run(t *testing.T, user, ns, stdin, line string) (string, error) {
	t.Helper()
	args := append([]string{"-n", ns}, fields(line)...)
	if strings.HasPrefix(user, "system:") {
		user, args = "admin", append(args, "--as="+user)
	}
	return shared.Kubectl(t, user, stdin, args...)
}

// operator is a controller's account with all rights.
func operator(t *testing.T, ns string) string {
	t.Helper()
	account := "system:serviceaccount:" + ns + ":operator"
	for _, line := range []string{
		"create serviceaccount operator",
		"create clusterrolebinding " + ns + "-operator --clusterrole=cluster-admin --serviceaccount=" + ns + ":operator",
	} {
		if out, err := run(t, "admin", ns, "", line); err != nil {
			t.Fatal(out)
		}
	}
	t.Cleanup(func() {
		if out, err := run(t, "admin", ns, "", "delete clusterrolebinding "+ns+"-operator"); err != nil {
			t.Error(out)
		}
	})
	return account
}

const autoscalerOfMine = `apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: mine}
spec:
  minReplicas: 3
  maxReplicas: 6
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: mine}
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}
`

const pod = `apiVersion: v1
kind: Pod
metadata: {name: POD}
spec:
  containers: [{name: c, image: nginx}]
`

const binding = `{"apiVersion":"v1","kind":"Binding","metadata":{"name":"bound"},"target":{"apiVersion":"v1","kind":"Node","name":"down-node"}}`

const eviction = `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"evicted"}}`

func TestWhenMainstayIsDownOnlyWhatGitDeclaresIsLocked(t *testing.T) {
	const ns = "down"
	app(t, ns, "settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: NS}\ndata: {a: b}\n")
	account := operator(t, ns)
	mine := strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "web", "mine")
	if out, err := run(t, "alice", ns, mine, "apply -f -"); err != nil {
		t.Fatal(out)
	}
	declared := web(t, ns)
	kill(t)

	t.Run("locked", func(t *testing.T) {
		changed := strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")
		for name, tt := range map[string]struct{ stdin, line string }{
			"an image":                    {"", "set image deployment/web web=nginx:1.28"},
			"a label":                     {"", "label deployment web a=b"},
			"a merge patch":               {"", `patch deployment web --type=merge -p={"spec":{"replicas":5}}`},
			"a JSON patch":                {"", `patch configmap settings --type=json -p=[{"op":"replace","path":"/data/a","value":"c"}]`},
			"server-side apply":           {changed, "apply --server-side --force-conflicts -f -"},
			"a replacement":               {changed, "replace -f -"},
			"a restart":                   {"", "rollout restart deployment/web"},
			"a removal":                   {"", "delete deployment web"},
			"a removal of all":            {"", "delete --raw /api/v1/namespaces/" + ns + "/configmaps?labelSelector=mainstay.dev/sync"},
			"the label off":               {"", "label configmap settings mainstay.dev/sync-"},
			"what git says, all the same": {strings.ReplaceAll(held, "NS", ns), "apply --server-side --force-conflicts -f -"},
		} {
			for _, user := range []string{"alice", account} {
				out, err := run(t, user, ns, tt.stdin, tt.line)
				if err == nil || !strings.Contains(out, `failed calling webhook "held.mainstay.dev"`) {
					t.Errorf("%s by %s: kubectl said %q, want a refusal that names the webhook", name, user, out)
				}
			}
		}
		for name, line := range map[string]string{
			"the namespace":            "delete namespace " + ns + " --wait=false",
			"Mainstay's own inventory": "-n mainstay-system delete inventory shop",
		} {
			if out, err := run(t, "alice", ns, "", line); err == nil || !strings.Contains(out, `failed calling webhook "`) {
				t.Errorf("%s: kubectl said %q, want a refusal that names the webhook", name, out)
			}
		}
		if now := web(t, ns); now.UID != declared.UID || now.Generation != declared.Generation {
			t.Errorf("the Deployment has changed all the same: %+v", now.ObjectMeta)
		}
	})

	t.Run("works", func(t *testing.T) {
		label := declared.Labels[v1alpha1.SyncLabel]
		in := func(user, stdin, line string) {
			t.Helper()
			if out, err := run(t, user, ns, stdin, line); err != nil {
				t.Errorf("%s: %s by %s: %s", t.Name(), line, user, out)
			}
		}
		t.Run("creating what git does not declare, of declared kinds and others", func(*testing.T) {
			in("alice", "", "create configmap c --from-literal=a=b")
			in("alice", "", "create secret generic s --from-literal=a=b")
			in(account, "", "create deployment another --image=nginx")
			in(account, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: copy, labels: {mainstay.dev/sync: "+label+"}}\n", "create -f -")
		})
		t.Run("changing and deleting it", func(*testing.T) {
			in("alice", "", "patch configmap c --type=merge -p={\"data\":{\"a\":\"c\"}}")
			in(account, "", "set image deployment/mine mine=nginx:1.28")
			in("alice", "", "delete configmap c")
			in("alice", "", "delete secret s")
			in("alice", "", "delete deployment another")
		})
		t.Run("running, binding, evicting and looking into pods", func(*testing.T) {
			for _, name := range []string{"bound", "evicted", "looked-into"} {
				in("alice", strings.ReplaceAll(pod, "POD", name), "create -f -")
			}
			in("admin", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"down-node"}}`, "create -f -")
			in("system:kube-scheduler", binding, "create --raw /api/v1/namespaces/"+ns+"/pods/bound/binding -f -")
			in("alice", eviction, "create --raw /api/v1/namespaces/"+ns+"/pods/evicted/eviction -f -")
			out, err := run(t, "alice", ns, "", "exec looked-into -- true")
			if err == nil || !strings.Contains(out, "does not have a host assigned") {
				t.Errorf("exec: kubectl said %q, want that the pod runs nowhere yet", out)
			}
			in("alice", "", "patch pod looked-into --subresource=ephemeralcontainers --type=strategic "+
				`-p={"spec":{"ephemeralContainers":[{"name":"debug","image":"busybox"}]}}`)
			in("alice", "", "delete pod looked-into --wait=false")
		})
		t.Run("what a cluster lives on: nodes, leases, endpoints", func(*testing.T) {
			in("admin", "", "label node down-node a=b")
			in("admin", "", "taint node down-node a=b:NoSchedule")
			in("admin", `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"l"}}`, "create -f -")
			in("admin", "", `patch lease l --type=merge -p={"spec":{"holderIdentity":"x"}}`)
			in("admin", "", "delete lease l")
			in("alice", "", "create service clusterip mine --tcp=80")
			shared.Await(t, "the Service has an EndpointSlice", func() (bool, string) {
				out, err := run(t, "admin", ns, "", "get endpointslices -l kubernetes.io/service-name=mine -o name")
				return err == nil && strings.Contains(out, "/mine-"), out
			})
			in("admin", "", "label endpointslice -l kubernetes.io/service-name=mine a=b")
			in("alice", "", "delete service mine")
			in("admin", "", "delete node down-node")
		})
		t.Run("scaling, by hand and by an autoscaler", func(*testing.T) {
			in("alice", "", "scale deployment/mine --replicas=2")
			in(account, "", "scale deployment/mine --replicas=1")
			in("alice", autoscalerOfMine, "create -f -")
			shared.Await(t, "the autoscaler scales", func() (bool, string) {
				out, err := run(t, "admin", ns, "", "get deployment mine -o jsonpath={.spec.replicas}")
				return err == nil && out == "3", out
			})
			// That of a declared workload passes, too: the entry fails open.
			in("alice", "", "scale deployment/web --replicas=9")
		})
		t.Run("the controllers of workloads, declared or not", func(t *testing.T) {
			shared.Await(t, "both have their pods and say so", func() (bool, string) {
				var d appsv1.DeploymentList
				world.Must(t, shared.Client.List(t.Context(), &d, client.InNamespace(ns)))
				said, done := "", len(d.Items) == 2
				for _, d := range d.Items {
					said += fmt.Sprintf("%s: %d of %d, ", d.Name, d.Status.Replicas, *d.Spec.Replicas)
					done = done && d.Status.ObservedGeneration == d.Generation && d.Status.Replicas >= *d.Spec.Replicas
				}
				return done, said
			})
			in("alice", "", "delete pods -l app=web --wait=false")
			shared.Await(t, "deleted pods are made again", func() (bool, string) {
				out, err := run(t, "admin", ns, "", "get pods -l app=web -o name")
				return err == nil && strings.Count(out, "pod/") == 9, out
			})
		})
		t.Run("namespaces without held objects come and go", func(*testing.T) {
			in("alice", "", "create namespace down-too")
			in("alice", "", "-n down-too create configmap c --from-literal=a=b")
			in("alice", "", "delete namespace down-too --timeout=60s")
		})
		in("alice", "", "delete deployment mine --wait=false")
	})

	shared.Start(t)
	shared.Await(t, "git's replicas are back", func() (bool, string) {
		d := web(t, ns)
		return *d.Spec.Replicas == 2, d.ResourceVersion
	})
	shared.Await(t, "alice is told why she is refused", func() (bool, string) {
		out, err := run(t, "alice", ns, "", "label deployment web a=b")
		return err != nil && strings.Contains(out, "is held by git"), out
	})
	if out, err := run(t, "alice", ns, "", "delete configmap copy"); err != nil {
		t.Errorf("a label that does not fit locks nothing: %s", out)
	}
}

// traffic is people and controllers that write without pause.
type traffic struct {
	stop chan struct{}
	done sync.WaitGroup
	// sent counts requests by kind of object, wrong the unexpected answers.
	sent  [2]atomic.Int64
	wrong chan string
}

const (
	toDeclared = iota
	toUndeclared
)

// start sends changes of declared and undeclared ConfigMaps of a namespace. A
// change to what git declares may never succeed, and fails only as allowed
// says; one to anything else may never fail.
func (tr *traffic) start(t *testing.T, ns string, declared []string, allowed func(error) bool) {
	t.Helper()
	config, err := shared.State.RESTConfig("alice")
	world.Must(t, err)
	config.QPS = -1
	kube, err := kubernetes.NewForConfig(config)
	world.Must(t, err)
	tr.stop, tr.wrong = make(chan struct{}), make(chan string, 100)
	patch := func(name string, n int) error {
		_, err := kube.CoreV1().ConfigMaps(ns).Patch(world.Lasting(t), name, types.MergePatchType,
			fmt.Appendf(nil, `{"data":{"a":"%d"}}`, n), metav1.PatchOptions{})
		return err
	}
	each := func(kind int, name string, judge func(error) string) {
		tr.done.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-tr.stop:
					return
				default:
				}
				if wrong := judge(patch(name, n)); wrong != "" {
					select {
					case tr.wrong <- name + ": " + wrong:
					default:
					}
				}
				tr.sent[kind].Add(1)
			}
		})
	}
	for _, name := range declared {
		each(toDeclared, name, func(err error) string {
			switch {
			case err == nil:
				return "a change to what git declares was let through"
			case !allowed(err):
				return err.Error()
			}
			return ""
		})
	}
	for i := range 2 {
		name := fmt.Sprint("undeclared-", i)
		_, err := kube.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		world.Must(t, err)
		each(toUndeclared, name, func(err error) string {
			if err != nil {
				return "a change to what git does not declare failed: " + err.Error()
			}
			return ""
		})
	}
}

// flows waits until some more requests of each kind were answered.
func (tr *traffic) flows(t *testing.T) {
	t.Helper()
	declared, undeclared := tr.sent[toDeclared].Load(), tr.sent[toUndeclared].Load()
	shared.Await(t, "requests are answered", func() (bool, string) {
		d, u := tr.sent[toDeclared].Load()-declared, tr.sent[toUndeclared].Load()-undeclared
		return d >= 20 && u >= 20, fmt.Sprint(d, " and ", u)
	})
}

// end stops the traffic and reports what went wrong.
func (tr *traffic) end(t *testing.T) {
	t.Helper()
	close(tr.stop)
	tr.done.Wait()
	close(tr.wrong)
	for wrong := range tr.wrong {
		t.Error(wrong)
	}
	t.Logf("%d changes to declared and %d to undeclared objects", tr.sent[toDeclared].Load(), tr.sent[toUndeclared].Load())
}

// declaredConfigMaps pushes a namespace with ConfigMaps for traffic.
func declaredConfigMaps(t *testing.T, ns string) []string {
	t.Helper()
	names := []string{"declared-0", "declared-1"}
	var files []string
	for _, name := range names {
		files = append(files, name+".yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+", namespace: NS}\ndata: {a: git}\n")
	}
	app(t, ns, files...)
	return names
}

func TestKillingTheControllerLosesNoRequestAndLetsNothingThrough(t *testing.T) {
	const ns = "killed"
	names := declaredConfigMaps(t, ns)
	var tr traffic
	tr.start(t, ns, names, func(err error) bool {
		return strings.Contains(err.Error(), "denied the request") || strings.Contains(err.Error(), "failed calling webhook")
	})
	t.Cleanup(func() { shared.RestartIfDown(t) })
	for _, grace := range []time.Duration{0, 10 * time.Second} { // SIGKILL, SIGTERM
		tr.flows(t)
		world.Must(t, shared.Controller(t).Stop(t.Context(), grace))
		tr.flows(t)
		shared.Start(t)
		tr.flows(t)
	}
	tr.end(t)
	for _, name := range names {
		if out, err := run(t, "admin", ns, "", "get configmap "+name+" -o jsonpath={.data.a}"); err != nil || out != "git" {
			t.Errorf("%s has %q, want what git says", name, out)
		}
	}
}

// failurePolicies of the webhook's entries, as the API server has them.
func failurePolicies(t *testing.T) string {
	t.Helper()
	out, err := shared.Kubectl(t, "admin", "", "get", "validatingwebhookconfigurations", "-l", "app.kubernetes.io/name=mainstay",
		"-o", "jsonpath={.items[*].webhooks[*].failurePolicy}")
	world.Must(t, err)
	return out
}

// everythingIsWrong denies whatever happens in a namespace: its evaluation
// fails, and an error in a denial refuses.
const everythingIsWrong = `apiVersion: mainstay.dev/v1alpha1
kind: ChangePolicy
metadata: {name: wrong, namespace: mainstay-system}
spec:
  modules:
    wrong.rego: |
      package wrong

      deny contains {"reason": "everything"} if {
      	input.namespace == "NS"
      	to_number("everything") > 1
      }
`

func TestWayOut4MainstayOff(t *testing.T) {
	const ns = "turned-off"
	app(t, ns)
	if out, err := run(t, "admin", "mainstay-system", strings.ReplaceAll(everythingIsWrong, "NS", ns), "create -f -"); err != nil {
		t.Fatal(out)
	}
	t.Cleanup(func() {
		if out, err := run(t, "admin", "mainstay-system", "", "delete changepolicy wrong --ignore-not-found"); err != nil {
			t.Error(out)
		}
	})
	scale := func(n int) (string, error) {
		return run(t, "alice", ns, "", fmt.Sprintf(`patch deployment web --type=merge -p={"spec":{"replicas":%d}}`, n))
	}
	shared.Await(t, "Mainstay itself is wrong", func() (bool, string) {
		out, err := scale(9)
		return err != nil && strings.Contains(out, "wrong.rego"), out
	})

	started := time.Now()
	const turnedOff = 15 * time.Second
	out, err := shared.Kubectl(t, "alice", "", readmeCommand(t, "create configmap mainstay-off --from-literal=reason=INC-4711", "--from-literal=for=1h", "--from-literal=for="+turnedOff.String())...)
	if err != nil {
		t.Fatal(out)
	}
	t.Cleanup(func() {
		if out, err := run(t, "admin", "mainstay-system", "", "delete configmap mainstay-off --ignore-not-found"); err != nil {
			t.Error(out)
		}
	})
	shared.Await(t, "alice may do what she likes", func() (bool, string) {
		out, err := scale(9)
		return err == nil, out
	})
	shared.Await(t, "every entry fails open", func() (bool, string) {
		out := failurePolicies(t)
		return strings.Contains(out, "Ignore") && !strings.Contains(out, "Fail"), out
	})
	shared.Await(t, "the status says so", func() (bool, string) {
		c := condition(t, "Enforcing")
		return c.Status == metav1.ConditionFalse && strings.Contains(c.Message, "INC-4711"), c.Message
	})
	shared.Push(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")})
	if out, err := run(t, "alice", ns, "", "label deployment web a=b"); err != nil {
		t.Errorf("a label: %s", out)
	}
	shared.Await(t, "the ledger has a line about what was permitted", func() (bool, string) {
		return slices.ContainsFunc(ledger(t), func(line string) bool {
			return strings.Contains(line, `"class":"off"`) && strings.Contains(line, "INC-4711") && strings.Contains(line, `"namespace":"`+ns+`"`)
		}), ""
	})
	if d := web(t, ns); time.Since(started) < turnedOff-2*time.Second && (*d.Spec.Replicas != 9 || d.Labels["a"] != "b" || d.Spec.Template.Spec.Containers[0].Image != "nginx:1.27") {
		t.Errorf("something was written: %d replicas, labels %v, image %s", *d.Spec.Replicas, d.Labels, d.Spec.Template.Spec.Containers[0].Image)
	}
	shared.Await(t, "it ends by itself, and git is back", func() (bool, string) {
		d := web(t, ns)
		return *d.Spec.Replicas == 2 && d.Labels["a"] == "", d.ResourceVersion
	})
	// The ConfigMap says in whole seconds when it was made.
	if took := time.Since(started); took < turnedOff-time.Second {
		t.Errorf("it ended after %s, want %s", took, turnedOff)
	}
	shared.Await(t, "alice is refused", func() (bool, string) {
		out, err := scale(9)
		return err != nil, out
	})
	shared.Await(t, "it fails closed", func() (bool, string) {
		out := failurePolicies(t)
		return strings.Contains(out, "Fail"), out
	})
	// What can't be judged is no permit for a commit either.
	shared.Await(t, "the commit waits", func() (bool, string) {
		c := condition(t, "Ready")
		return c.Reason == "Frozen" && strings.Contains(c.Message, "wrong.rego"), c.Message
	})
	if out, err := run(t, "admin", "mainstay-system", "", "delete changepolicy wrong"); err != nil {
		t.Fatal(out)
	}
	shared.Await(t, "the commit is applied", func() (bool, string) {
		image := web(t, ns).Spec.Template.Spec.Containers[0].Image
		return image == "nginx:1.28", image
	})
}

// ledger is what the controller printed.
func ledger(t *testing.T) []string {
	t.Helper()
	file, err := os.Open(shared.State.ControllerLog())
	world.Must(t, err)
	defer file.Close()
	var lines []string
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if strings.Contains(scanner.Text(), `"kind":"decision"`) {
			lines = append(lines, scanner.Text())
		}
	}
	world.Must(t, scanner.Err())
	return lines
}

// readmeCommand is the kubectl command in the README that says so, as
// arguments, with replacements: what is printed there is what is tried.
func readmeCommand(t *testing.T, says string, replace ...string) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	world.Must(t, err)
	for _, m := range regexp.MustCompile("`kubectl ([^`]*)`").FindAllStringSubmatch(string(readme), -1) {
		if strings.Contains(m[1], says) {
			return strings.Fields(strings.NewReplacer(replace...).Replace(m[1]))
		}
	}
	t.Fatalf("the README has no command that says %q", says)
	return nil
}

func TestWayOut5DeleteTheConfigurations(t *testing.T) {
	const ns = "removed"
	app(t, ns, "settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: NS}\ndata: {a: b}\n")
	// The sandbox runs the program as a process: this stands for the one of a
	// cluster, and must be as free to be scaled.
	if out, err := run(t, "admin", "mainstay-system", "", "create deployment mainstay --image=mainstay"); err != nil {
		t.Fatal(out)
	}
	t.Cleanup(func() {
		if out, err := run(t, "admin", "mainstay-system", "", "delete deployment mainstay"); err != nil {
			t.Error(out)
		}
	})
	before := web(t, ns)
	remove := func() {
		t.Helper()
		for _, says := range []string{"scale deployment/mainstay --replicas=0", "delete validatingwebhookconfigurations,mutatingwebhookconfigurations -l app.kubernetes.io/name=mainstay"} {
			if out, err := shared.Kubectl(t, "alice", "", readmeCommand(t, says)...); err != nil {
				t.Fatal(out)
			}
		}
	}
	kill(t)
	remove()
	for _, line := range []string{
		"set image deployment/web web=nginx:1.28", "scale deployment/web --replicas=9", "label deployment web a=b",
		"delete configmap settings", "label configmap kube-root-ca.crt a=b",
	} {
		shared.Await(t, line, func() (bool, string) {
			out, err := run(t, "alice", ns, "", line)
			return err == nil, out
		})
	}
	if out := failurePolicies(t); out != "" {
		t.Errorf("the configuration is back, with the failure policies %s, though no replica runs", out)
	}
	shared.Start(t)
	shared.Await(t, "git is back", func() (bool, string) {
		d := web(t, ns)
		c := new(corev1.ConfigMap)
		err := shared.Client.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "settings"}, c)
		return err == nil && c.Data["a"] == "b" && *d.Spec.Replicas == 2 && d.Labels["a"] == "" &&
			d.Spec.Template.Spec.Containers[0].Image == "nginx:1.27", d.ResourceVersion
	})
	if now := web(t, ns); now.UID != before.UID {
		t.Error("the Deployment was made anew, not put right")
	}
	shared.Await(t, "alice is refused", func() (bool, string) {
		out, err := run(t, "alice", ns, "", "label deployment web a=b")
		return err != nil && strings.Contains(out, "is held by git"), out
	})
}

// off does something while no replica of Mainstay runs and its configuration
// is gone: the last of the ways out.
func off(t *testing.T, change func() error) {
	t.Helper()
	world.Must(t, shared.Controller(t).Stop(t.Context(), 5*time.Second))
	out, err := shared.Kubectl(t, "admin", "", "delete", "validatingwebhookconfigurations", "-l", "app.kubernetes.io/name=mainstay")
	if err != nil {
		t.Fatal(out)
	}
	shared.Await(t, "the change is made", func() (bool, string) {
		if err := change(); err != nil {
			return false, err.Error()
		}
		return true, ""
	})
	shared.Start(t)
}
