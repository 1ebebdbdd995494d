// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// suspends sets the annotation on a GitSync, or takes it off where it is empty.
func suspends(t *testing.T, user, name, value string, more ...string) (string, error) {
	t.Helper()
	annotation := v1alpha1.SuspendAnnotation + "=" + value
	if value == "" {
		annotation = v1alpha1.SuspendAnnotation + "-"
	}
	return shared.Kubectl(t, user, "", append([]string{"-n", system, "annotate", "--overwrite", "gitsync", name, annotation}, more...)...)
}

func suspended(t *testing.T, name string) (*v1alpha1.Suspended, string) {
	t.Helper()
	gs := new(v1alpha1.GitSync)
	world.Must(t, shared.Client.Get(world.Lasting(t), client.ObjectKey{Namespace: system, Name: name}, gs))
	c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionEnforcing)
	if c == nil {
		c = &metav1.Condition{}
	}
	return gs.Status.Suspended, c.Reason
}

// enforced waits until no suspension is left, also where a test has failed.
func enforced(t *testing.T) {
	t.Helper()
	shared.Await(t, "git is enforced", func() (bool, string) {
		s, reason := suspended(t, "shop")
		return s == nil && reason == "Enforcing", fmt.Sprint(s, reason)
	})
}

func TestASuspendedGitSync(t *testing.T) {
	const ns = "suspended"
	app(t, ns)
	t.Cleanup(func() {
		_, _ = shared.Kubectl(t, "alice", "", "-n", system, "annotate", "gitsync", "shop", v1alpha1.SuspendAnnotation+"-")
	})
	if out, err := setImage(t, "alice", ns, "nginx:1.28"); err == nil {
		t.Fatalf("permitted before it is suspended: %s", out)
	}
	out, err := suspends(t, "alice", "shop", "5s INC-4711 bad rollout")
	if err != nil || !strings.Contains(out, "Warning: GitSync shop is suspended until") {
		t.Fatalf("kubectl said %q, %v", out, err)
	}
	began := time.Now()
	shared.Await(t, "alice may change the image", func() (bool, string) {
		out, err = setImage(t, "alice", ns, "nginx:1.28")
		return err == nil, out
	})
	if !strings.Contains(out, "Warning: GitSync shop is suspended until") || !strings.Contains(out, "by alice") {
		t.Errorf("kubectl said %q, want the warning", out)
	}
	shared.Await(t, "the status says so", func() (bool, string) {
		s, reason := suspended(t, "shop")
		return s != nil && s.By == "alice" && s.Reason == "INC-4711 bad rollout" && s.Until.Sub(s.Since.Time) == 5*time.Second && reason == "Suspended",
			fmt.Sprint(s, reason)
	})
	for time.Since(began) < 4*time.Second {
		if got := imageOf(t, ns); got != "nginx:1.28" {
			t.Fatalf("image = %s after %s: it was reverted meanwhile", got, time.Since(began))
		}
		time.Sleep(100 * time.Millisecond) // the passing of time is what is tested
	}
	shared.Await(t, "it ends by itself, and git's image is back", func() (bool, string) {
		got := imageOf(t, ns)
		return got == "nginx:1.27", got
	})
	if d := time.Since(began); d < 4500*time.Millisecond {
		t.Errorf("it ended after %s", d)
	}
	enforced(t)
	if out, err := setImage(t, "alice", ns, "nginx:1.28"); err == nil {
		t.Errorf("permitted after it has ended: %s", out)
	}
	shared.Await(t, "the annotation is gone", func() (bool, string) {
		value, ok := shared.GitSync(t).Annotations[v1alpha1.SuspendAnnotation]
		return !ok, value
	})

	t.Run("whoever ends it early", func(t *testing.T) {
		out, err := suspends(t, "alice", "shop", "1h INC-4711 again")
		if err != nil {
			t.Fatal(out)
		}
		shared.Await(t, "alice may change the image", func() (bool, string) {
			out, err := setImage(t, "alice", ns, "nginx:1.29")
			return err == nil, out
		})
		// It survives a restart, and does not stop because its maker is away.
		world.Must(t, shared.Controller(t).Stop(t.Context(), 0))
		shared.Restart(t)
		if out, err := setImage(t, "alice", ns, "nginx:1.30"); err != nil {
			t.Errorf("after a restart: %s", out)
		}
		if got := imageOf(t, ns); got != "nginx:1.30" {
			t.Errorf("image = %s", got)
		}
		if out, err := suspends(t, "alice", "shop", ""); err != nil {
			t.Fatal(out)
		}
		shared.Await(t, "git's image is back", func() (bool, string) {
			got := imageOf(t, ns)
			return got == "nginx:1.27", got
		})
		enforced(t)
	})

	t.Run("a forged annotation suspends nothing", func(t *testing.T) {
		world.Must(t, shared.Controller(t).Stop(t.Context(), 0))
		out, err := shared.Kubectl(t, "alice", "", "delete", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "-l", "app.kubernetes.io/name=mainstay")
		if err != nil {
			t.Fatal(out)
		}
		shared.Await(t, "the annotation is forged", func() (bool, string) {
			out, err := suspends(t, "alice", "shop", "24h forged")
			return err == nil, out
		})
		shared.Restart(t)
		shared.Await(t, "the image is refused", func() (bool, string) {
			out, err := setImage(t, "alice", ns, "nginx:1.28")
			return err != nil && strings.Contains(out, "is held by git"), out
		})
		shared.Await(t, "what slipped through is back", func() (bool, string) {
			got := imageOf(t, ns)
			return got == "nginx:1.27", got
		})
		if s, reason := suspended(t, "shop"); s != nil || reason == "Suspended" {
			t.Errorf("suspended: %+v, %s", s, reason)
		}
		// Whoever may write may tidy up what suspends nothing.
		if out, err := suspends(t, "alice", "shop", "", "--as=dora", "--as-group=editors"); err == nil {
			t.Fatalf("dora has no rights at all: %s", out)
		}
		if out, err := suspends(t, "alice", "shop", ""); err != nil {
			t.Errorf("the forged annotation stays: %s", out)
		}
		enforced(t)
	})
}

func TestSuspendingTakesTheVerb(t *testing.T) {
	out, err := shared.Kubectl(t, "admin", "", "-n", system, "create", "rolebinding", "editors", "--clusterrole=mainstay-edit", "--group=editors")
	if err != nil {
		t.Fatal(out)
	}
	as := []string{"--as=dora", "--as-group=editors"}
	shared.Await(t, "dora may write GitSyncs", func() (bool, string) {
		out, err := shared.Kubectl(t, "admin", "", append([]string{"-n", system, "annotate", "--overwrite", "gitsync", "shop", "example.org/note=" + fmt.Sprint(time.Now().UnixNano())}, as...)...)
		return err == nil, out
	})
	for name, tt := range map[string]struct {
		value string
		as    []string
		say   string
	}{
		"without the verb":     {"1h INC-4711", as, `the verb suspend on gitsyncs.mainstay.dev in namespace mainstay-system, which "dora" does not have`},
		"a dry run without it": {"1h INC-4711", append([]string{"--dry-run=server"}, as...), "the verb suspend"},
		"without a reason":     {"1h", nil, "a reason has to follow the duration"},
		"without a duration":   {"INC-4711", nil, suspendExample},
		"for too long":         {"48h INC-4711", nil, "at most 24h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := suspends(t, "admin", "shop", tt.value, tt.as...)
			if err == nil || !strings.Contains(out, tt.say) {
				t.Errorf("kubectl said %q, want the refusal with %q", out, tt.say)
			}
			if s, _ := suspended(t, "shop"); s != nil {
				t.Errorf("suspended: %+v", s)
			}
		})
	}
	t.Run("with the verb", func(t *testing.T) {
		out, err := shared.Kubectl(t, "admin", "", "-n", system, "create", "rolebinding", "approvers", "--clusterrole=mainstay-approver", "--user=erin")
		if err != nil {
			t.Fatal(out)
		}
		shared.Await(t, "erin suspends", func() (bool, string) {
			out, err := suspends(t, "admin", "shop", "1h INC-4711", "--as=erin")
			return err == nil, out
		})
		shared.Await(t, "it counts", func() (bool, string) {
			s, reason := suspended(t, "shop")
			return s != nil && s.By == "erin", fmt.Sprint(s, reason)
		})
		if out, err := suspends(t, "admin", "shop", "", as...); err == nil || !strings.Contains(out, "the verb suspend") {
			t.Errorf("dora ends it: %s", out)
		}
		if out, err := suspends(t, "admin", "shop", "", "--as=erin"); err != nil {
			t.Errorf("erin can't end it: %s", out)
		}
		enforced(t)
	})
}

const suspendExample = `mainstay.dev/suspend="1h INC-4711 bad rollout"`

func TestAGitSyncThatGitDeclaresCanBeSuspended(t *testing.T) {
	const ns, child = "parented", "child"
	app(t, ns, "gitsync.yaml", `apiVersion: mainstay.dev/v1alpha1
kind: GitSync
metadata: {name: child, namespace: mainstay-system}
spec:
  source: {url: "file:///nowhere.git", ref: {branch: main}}
  enforcement: {mode: Enforce}
`)
	if out, err := shared.Kubectl(t, "alice", "", "-n", system, "patch", "gitsync", child, "--type=merge", `-p={"spec":{"contact":"#mine"}}`); err == nil {
		t.Errorf("its spec may be changed: %s", out)
	}
	if out, err := suspends(t, "alice", child, "1h INC-4711"); err != nil {
		t.Fatalf("it can't be suspended: %s", out)
	}
	shared.Await(t, "it is suspended", func() (bool, string) {
		s, reason := suspended(t, child)
		return s != nil && s.By == "alice", fmt.Sprint(s, reason)
	})
	if out, err := shared.Kubectl(t, "alice", "", "-n", system, "annotate", "gitsync", child, v1alpha1.RequestedAtAnnotation+"=now"); err != nil {
		t.Errorf("it can't be told to look: %s", out)
	}
	// A commit that has nothing to do with it, and the loop, leave it alone.
	shared.Pushed(t, map[string]string{ns + "/web.yaml": strings.ReplaceAll(strings.ReplaceAll(held, "NS", ns), "nginx:1.27", "nginx:1.28")})
	gs := new(v1alpha1.GitSync)
	world.Must(t, shared.Client.Get(t.Context(), client.ObjectKey{Namespace: system, Name: child}, gs))
	if gs.Annotations[v1alpha1.SuspendAnnotation] != "1h INC-4711" || gs.Annotations[v1alpha1.RequestedAtAnnotation] != "now" {
		t.Errorf("annotations %v", gs.Annotations)
	}
	if s, _ := suspended(t, "shop"); s != nil {
		t.Errorf("its parent is suspended, too: %+v", s)
	}
	if out, err := suspends(t, "alice", child, ""); err != nil {
		t.Errorf("it can't be resumed: %s", out)
	}
}

func TestWhatIsMainstaysIsMainstaysAlone(t *testing.T) {
	const ns = "tenants"
	app(t, ns)
	broken := "apiVersion: mainstay.dev/v1alpha1\nkind: ChangePolicy\nmetadata: {name: broken, namespace: NS}\nspec:\n  modules:\n    freeze.rego: |\n      package freeze\n\n" +
		"      deny contains {\"reason\": \"no\"} if {\n        http.send({})\n      }\n"
	inventory := "apiVersion: mainstay.dev/v1alpha1\nkind: Inventory\nmetadata: {name: NAME, namespace: NS}\ndata: {generation: 99, objects: 0, head: \"{}\", seal: x}\n"
	secret := "apiVersion: v1\nkind: Secret\ntype: mainstay.dev/permit\nmetadata: {name: permit-forged, namespace: NS, labels: {mainstay.dev/permit: \"true\"}}\n"
	gitsync := "apiVersion: mainstay.dev/v1alpha1\nkind: GitSync\nmetadata: {name: mine, namespace: NS}\nspec:\n  source: {url: \"https://git.example.org/x.git\", ref: {branch: main}}\n  enforcement: {mode: Enforce}\n"
	in := func(manifest, namespace string) string { return strings.ReplaceAll(manifest, "NS", namespace) }
	const only, status, kubelet = "only Mainstay itself writes it", "only Mainstay itself writes its status", "made by the kubelet for Mainstay's own pods only"
	key, err := shared.Kubectl(t, "admin", "", "-n", system, "get", "secret", "mainstay-key", "-o", "yaml")
	world.Must(t, err)

	for name, tt := range map[string]struct {
		stdin string
		args  string
		say   string
	}{
		"its status by merge patch":             {"", `-n mainstay-system patch gitsync shop --subresource=status --type=merge -p={"status":{"lastAppliedRevision":"x"}}`, status},
		"its status by JSON patch":              {"", `-n mainstay-system patch gitsync shop --subresource=status --type=json -p=[{"op":"remove","path":"/status"}]`, status},
		"a suspension in the status":            {"", `-n mainstay-system patch gitsync shop --subresource=status --type=merge -p={"status":{"suspended":{"by":"x","reason":"x","since":"2026-01-01T00:00:00Z","until":"2036-01-01T00:00:00Z"}}}`, status},
		"a patch of an inventory":               {"", `-n mainstay-system patch inventory shop --type=merge -p={"data":{"objects":0}}`, only},
		"a label on an inventory":               {"", "-n mainstay-system label inventory shop a=b", only},
		"a finalizer on an inventory":           {"", `-n mainstay-system patch inventory shop --type=merge -p={"metadata":{"finalizers":["example.org/x"]}}`, only},
		"the deletion of an inventory":          {"", "-n mainstay-system delete inventory shop", only},
		"the deletion of all inventories":       {"", "delete --raw /apis/mainstay.dev/v1alpha1/namespaces/mainstay-system/inventories", only},
		"an inventory, applied by the server":   {in(strings.ReplaceAll(inventory, "NAME", "shop"), system), "apply --server-side --force-conflicts -f -", only},
		"an inventory in a tenant's namespace":  {in(strings.ReplaceAll(inventory, "NAME", "mine"), ns), "create -f -", only},
		"an inventory of a GitSync to come":     {in(strings.ReplaceAll(inventory, "NAME", "till"), system), "create -f -", only},
		"the key, deleted":                      {"", "-n mainstay-system delete secret mainstay-key", only},
		"the key, labelled":                     {"", "-n mainstay-system label secret mainstay-key a=b", only},
		"the key, annotated":                    {"", "-n mainstay-system annotate secret mainstay-key a=b", only},
		"the key, as another type":              {strings.ReplaceAll(key, "type: mainstay.dev/key", "type: Opaque"), "replace --force -f -", only},
		"the key with a finalizer":              {"", `-n mainstay-system patch secret mainstay-key --type=merge -p={"metadata":{"finalizers":["example.org/x"]}}`, only},
		"all Secrets that hold the inventory":   {"", "delete --raw /api/v1/namespaces/mainstay-system/secrets?fieldSelector=type=mainstay.dev/inventory", only},
		"a forged permit":                       {in(secret, system), "create -f -", only},
		"a forged permit, applied":              {in(secret, system), "apply --server-side -f -", only},
		"a token of its account":                {"", "-n mainstay-system create token mainstay", kubelet},
		"a token by way of a Secret":            {"apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata: {name: t, namespace: mainstay-system, annotations: {kubernetes.io/service-account.name: mainstay}}\n", "create -f -", kubelet},
		"the definition of its inventories":     {"", "delete crd inventories.mainstay.dev", "delete the GitSyncs first"},
		"the definition of its GitSyncs":        {"", "delete crd gitsyncs.mainstay.dev", "delete the GitSyncs first"},
		"a ChangePolicy that does not compile":  {in(broken, system), "create -f -", "freeze.rego:4:"},
		"one that does not, of a tenant":        {in(broken, ns), "apply --server-side -f -", "freeze.rego:4:"},
		"one in the name of a repository":       {in(strings.ReplaceAll(broken, "name: broken", "name: gitsync-mine"), ns), "create -f -", "it comes from the repository of a GitSync"},
		"one that comes from a repository":      {"", "-n mainstay-system delete changepolicy gitsync-shop", "it comes from the repository of a GitSync"},
		"a tenant's GitSync without an account": {in(gitsync, ns), "create -f -", "spec.serviceAccountName is required outside of mainstay-system"},
		"a GitSync that is created suspended":   {in(strings.ReplaceAll(gitsync, "name: mine,", `name: mine, annotations: {mainstay.dev/suspend: "1h why"},`), system), "create -f -", "can't be created suspended"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := shared.Kubectl(t, "alice", tt.stdin, fields(tt.args)...)
			if err == nil {
				t.Fatalf("permitted: %s", out)
			}
			if !strings.Contains(out, "own.mainstay.dev") || !strings.Contains(out, tt.say) {
				t.Errorf("kubectl said %q, want the refusal with %q", out, tt.say)
			}
		})
	}
	for name, tt := range map[string]struct{ stdin, args, warning string }{
		"a Secret that only carries a label":            {in(strings.ReplaceAll(strings.ReplaceAll(secret, "type: mainstay.dev/permit", "type: Opaque"), "permit-forged", "labelled"), system), "apply -f -", ""},
		"it goes again":                                 {in(strings.ReplaceAll(strings.ReplaceAll(secret, "type: mainstay.dev/permit", "type: Opaque"), "permit-forged", "labelled"), system), "delete --ignore-not-found -f -", ""},
		"a Secret of that type elsewhere":               {in(secret, ns), "apply -f -", ""},
		"a token of another account":                    {"", "-n mainstay-system create token default", ""},
		"to look now":                                   {"", "-n mainstay-system annotate --overwrite gitsync shop mainstay.dev/requested-at=now", ""},
		"a tenant's GitSync whose account is not there": {in(strings.ReplaceAll(gitsync, "spec:", "spec:\n  serviceAccountName: git"), ns), "create -f - --dry-run=server", "there is no ServiceAccount git in " + ns},
	} {
		t.Run("permitted: "+name, func(t *testing.T) {
			out, err := shared.Kubectl(t, "alice", tt.stdin, fields(tt.args)...)
			if err != nil || !strings.Contains(out, tt.warning) {
				t.Errorf("kubectl said %q, %v, want %q", out, err, tt.warning)
			}
		})
	}

	t.Run("a tenant's ChangePolicy speaks of its namespace only", func(t *testing.T) {
		const other = "tenants-other"
		app(t, other)
		permitting := "apiVersion: mainstay.dev/v1alpha1\nkind: ChangePolicy\nmetadata: {name: mine, namespace: " + ns + "}\nspec:\n  modules:\n    mine.rego: |\n      package mine\n\n" +
			"      exception contains {\"reason\": \"mine\", \"paths\": [\"metadata.labels.mine\"]} if input.operation == \"UPDATE\"\n"
		if out, err := shared.Kubectl(t, "alice", permitting, "create", "-f", "-"); err != nil {
			t.Fatal(out)
		}
		label := func(namespace string) (string, error) {
			return shared.Kubectl(t, "alice", "", "-n", namespace, "label", "--overwrite", "deployment", "web", "mine=yes")
		}
		shared.Await(t, "it permits in its namespace", func() (bool, string) {
			out, err := label(ns)
			return err == nil, out
		})
		if out, err := label(other); err == nil {
			t.Errorf("it permits elsewhere: %s", out)
		}
		if out, err := shared.Kubectl(t, "alice", "", "-n", ns, "delete", "changepolicy", "mine"); err != nil {
			t.Error(out)
		}
	})
}
