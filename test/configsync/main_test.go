// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

var update = flag.Bool("update", false, "rewrite README.md")

// shared is the sandbox of this package. Each scenario works on objects of its
// own.
var shared *world.World

// system is Mainstay's own namespace.
const system = "mainstay-system"

// atOnce is how many scenarios run beside each other: they mostly wait.
const atOnce = "8"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", atOnce); err != nil {
		panic(err)
	}
	os.Exit(world.Main(m, func(w *world.World) {
		shared = w
		if err := knowKinds(); err != nil {
			panic(err)
		}
	}))
}

// scenario is one of theirs, and what becomes of it here.
type scenario struct {
	id string
	// when and theirs are what they do and what they expect; ours is what
	// happens here, where that is something else, and why.
	when, theirs, ours, why string
	// apart tells that it has objects and a GitSync of its own, so that it may run
	// beside others.
	apart bool
	try   func(t *testing.T)
}

func (s *scenario) same() bool { return s.ours == "" }

// as runs kubectl as a user, or as an account that an administrator
// impersonates. Arguments are separated by spaces.
func as(t *testing.T, user, stdin, line string) (string, error) {
	t.Helper()
	args := strings.Fields(line)
	if strings.HasPrefix(user, "system:") {
		user, args = "admin", append(args, "--as="+user)
	}
	return shared.Kubectl(t, user, stdin, args...)
}

// allowed has a person do something that must be allowed.
func allowed(t *testing.T, line string, stdin ...string) {
	t.Helper()
	allowedAs(t, "alice", line, stdin...)
}

func allowedAs(t *testing.T, user, line string, stdin ...string) {
	t.Helper()
	if out, err := as(t, user, strings.Join(stdin, ""), line); err != nil {
		t.Errorf("%s: kubectl %s: %s", user, line, out)
	}
}

// denied has a person do something that the webhook must deny.
func denied(t *testing.T, line string, stdin ...string) {
	t.Helper()
	deniedAs(t, "alice", line, stdin...)
}

func deniedAs(t *testing.T, user, line string, stdin ...string) {
	t.Helper()
	out, err := as(t, user, strings.Join(stdin, ""), line)
	if err == nil || !strings.Contains(out, "denied the request") {
		t.Errorf("%s: kubectl %s: %q, want a denial", user, line, out)
	}
}

// is checks a value of a live object: "absent" where there is none.
func is(t *testing.T, object, jsonpath, want string) {
	t.Helper()
	if got := live(t, object, jsonpath); got != want {
		t.Errorf("%s %s = %q, want %q", object, jsonpath, got, want)
	}
}

// becomes waits for a value.
func becomes(t *testing.T, object, jsonpath, want string) {
	t.Helper()
	shared.Await(t, fmt.Sprintf("%s %s = %s", object, jsonpath, want), func() (bool, string) {
		got := live(t, object, jsonpath)
		return got == want, got
	})
}

// stays checks that nothing happens to a value while a commit is brought in.
func stays(t *testing.T, object, jsonpath, want string) {
	t.Helper()
	pass(t)
	is(t, object, jsonpath, want)
}

// pass brings a commit in: by then the loop has seen every event before it.
func pass(t *testing.T) {
	t.Helper()
	commit(t, map[string]string{"other/" + strings.ReplaceAll(t.Name(), "/", "-") + ".yaml": fmt.Sprintf(
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%x, namespace: other}\n", time.Now().UnixNano())})
}

// commit pushes files, asks for a look at once instead of within the interval,
// and waits until they are applied.
func commit(t *testing.T, files map[string]string) {
	t.Helper()
	shared.Push(t, files)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"%x"}}}`, v1alpha1.RequestedAtAnnotation, time.Now().UnixNano())
	world.Must(t, shared.Client.Patch(world.Lasting(t), shared.GitSync(t), client.RawPatch(types.MergePatchType, []byte(patch))))
	shared.Applied(t)
}

// namespace is the manifest of a Namespace with annotations, as key=value.
func namespace(name string, annotations ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n", name)
	if len(annotations) > 0 {
		b.WriteString("  annotations:\n")
	}
	for _, a := range annotations {
		key, value, _ := strings.Cut(a, "=")
		fmt.Fprintf(&b, "    %s: %q\n", key, value)
	}
	return b.String()
}

// annotation is the path of one annotation.
func annotation(key string) string {
	return ".metadata.annotations." + strings.ReplaceAll(key, ".", `\.`)
}

// withoutWebhook does something while the webhook's configuration is away and
// no replica runs that would put it back.
func withoutWebhook(t *testing.T, do func()) {
	t.Helper()
	world.Must(t, shared.Controller(t).Stop(t.Context(), 5*time.Second))
	allowedAs(t, "admin", "delete validatingwebhookconfigurations,mutatingwebhookconfigurations -l app.kubernetes.io/name=mainstay")
	// The API server stops calling a moment after the configuration is gone.
	shared.Await(t, "the webhook is not called", func() (bool, string) {
		out, err := as(t, "admin", "", "annotate namespace other probe=x --overwrite --dry-run=server")
		return err == nil, out
	})
	do()
	shared.Start(t)
}

func groups() [][]scenario {
	return [][]scenario{
		admission(), decisions(), fieldsMatrix(), ignoring(), registration(), drifts(),
		conflicts(), lifecycle(), namespaces(), itself(), failures(),
	}
}

func TestScenarios(t *testing.T) {
	commit(t, map[string]string{"other/namespace.yaml": namespace("other")})
	var apart []scenario
	for _, group := range groups() {
		for _, s := range group {
			if s.apart {
				apart = append(apart, s)
				continue
			}
			t.Run(s.id, s.try)
		}
	}
	t.Run("apart", func(t *testing.T) {
		for _, s := range apart {
			t.Run(s.id, func(t *testing.T) {
				t.Parallel()
				s.try(t)
			})
		}
	})
	if t.Failed() {
		return
	}
	checkTable(t)
}

// checkTable compares README.md with what was tried.
func checkTable(t *testing.T) {
	t.Helper()
	var b strings.Builder
	b.WriteString(`<!-- go test ./test/configsync -update writes this file -->
# Config Sync's scenarios, tried here

Config Sync is the nearest relative: it denies changes to what git declares at admission, too. These are the scenarios of its own tests of
the admission webhook (A), the decisions of its webhook one by one (V), its comparison of fields (F), the marker that has it ignore changes (C), the
merging of its configuration (M), and of those of its correction of drift (B), conflicts (D), and lifecycle and errors (E) what has a counterpart here, each as a black-box test against a real API server. Where Mainstay does something else, the last column says why.

"Ignored" objects do not exist here: what comes nearest is an exception for ` + "`paths: [\"**\"]`" + ` of the object.

| | given and when | Config Sync | Mainstay | why |
|---|---|---|---|---|
`)
	for _, group := range groups() {
		for _, s := range group {
			ours := s.ours
			if s.same() {
				ours = "the same"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s.id, s.when, s.theirs, ours, s.why)
		}
	}
	if *update {
		world.Must(t, os.WriteFile("README.md", []byte(b.String()), 0o600))
		return
	}
	have, err := os.ReadFile("README.md")
	if err != nil || string(have) != b.String() {
		t.Errorf("README.md is not what was tried (%v): go test ./test/configsync -update", err)
	}
}
