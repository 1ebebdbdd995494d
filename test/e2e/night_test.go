// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/alerting"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// awaits waits until the GitSync says that it awaits git, in these words.
func awaits(t *testing.T, words ...string) {
	t.Helper()
	shared.Await(t, "Drifted says AwaitingGit", func() (bool, string) {
		c := meta.FindStatusCondition(shared.GitSync(t).Status.Conditions, v1alpha1.ConditionDrifted)
		if c == nil || c.Reason != v1alpha1.ReasonAwaitingGit {
			return false, fmt.Sprintf("%+v", c)
		}
		for _, w := range words {
			if !strings.Contains(c.Message, w) {
				return false, c.Message
			}
		}
		return true, ""
	})
}

// alarmed is a real Prometheus and a real Alertmanager beside the controller; the
// alerts' for is a second.
func alarmed(t *testing.T) *night {
	t.Helper()
	programs, err := alerting.Build(t.Context(), os.Stderr)
	world.Must(t, err)
	_, rules := quickRules(t)
	n := &night{t: t, stack: alerting.Run(t, programs, alerting.StackOptions{Rules: rules, Scrape: scrapes(t)})}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(n.stack.State(t))
		}
	})
	return n
}

// ends waits until an alert does not fire any more.
func (n *night) ends(alert string) {
	n.t.Helper()
	shared.Await(n.t, alert+" ends", func() (bool, string) {
		count, answer := n.stack.Query(n.t, `ALERTS{alertname="`+alert+`",alertstate="firing"}`)
		return count == 0, answer
	})
}

// The whole night: a change is refused, asked for, approved, made, held after
// the grant's end, and brought into git.
func TestTheNight(t *testing.T) {
	const ns = "night"
	app(t, ns)
	alarms := alarmed(t)
	out, err := setImage(t, "alice", ns, "nginx:1.28")
	refusedWith(t, "alice is blocked", "breakglass request", out, err)
	id := regexp.MustCompile(`breakglass request (\w+) --for`).FindStringSubmatch(out)[1]
	out, status := bgCommand(t, "alice", "request", id, "--for", "8s", "--reason", "INC-9: bad image")
	if status != 0 || !strings.Contains(out, "has to approve it: ") {
		t.Fatalf("asking: status %d, %s", status, out)
	}
	name := regexp.MustCompile(`bg-` + id + `-\w+`).FindString(out)
	if out, status := bgCommand(t, "alice", "approve", name); status != 1 || !strings.Contains(out, "somebody else has to approve it") {
		t.Errorf("alice approves her own: status %d, %s", status, out)
	}
	alarms.await(nil, "MainstayGrantRequested")
	if out, status := bgCommand(t, "bob", "approve", name); status != 0 {
		t.Fatalf("bob approves: %s", out)
	}
	out = permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	if !strings.Contains(out, "Warning: permitted by break-glass "+name) {
		t.Errorf("kubectl said %q, want the warning", out)
	}

	phase(t, name, v1alpha1.PhaseEnded)
	awaits(t, "Deployment.apps "+ns+"/web spec.template.spec.containers[name=web].image", "by alice", name+", approved by bob")
	alarms.await(nil, "MainstayGrantActive", "MainstayAwaitingGit")
	if got := imageOf(t, ns); got != "nginx:1.28" {
		t.Fatalf("image = %s after the end, want what was changed", got)
	}
	out, err = setImage(t, "alice", ns, "nginx:1.29")
	refusedWith(t, "the door is closed", "is held by git", out, err)
	shared.Await(t, "it is shown", func() (bool, string) {
		out, _ := bgCommand(t, "bob", "show", name)
		return regexp.MustCompile(`held +Deployment.apps `+ns+`/web`).MatchString(out) && strings.Contains(out, "breakglass patch "+name), out
	})
	for _, reason := range []string{"DriftHeld", "GrantEnded"} {
		shared.Await(t, "an Event "+reason, func() (bool, string) {
			out, err := shared.Kubectl(t, "admin", "", "get", "events", "-A", "-o", `jsonpath={range .items[?(@.reason=="`+reason+`")]}{.message}{"\n"}{end}`)
			return err == nil && strings.Contains(out, ns+"/web"), out
		})
	}

	apply := exec.CommandContext(t.Context(), "git", "apply", "-")
	apply.Dir, apply.Stdin = shared.Repo, bytes.NewReader(patchOf(t, name))
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("git apply: %v: %s", err, out)
	}
	shared.Git(t, "commit", "-qam", "web: the image of the night")
	shared.Git(t, "push", "-q")
	shared.Applied(t)
	shared.Await(t, "git has adopted it", func() (bool, string) {
		s := breakGlass(t, name).Status
		return len(s.AwaitingGit) == 0 && len(s.Settled) == 1 && s.Settled[0].How == v1alpha1.SettledInGit, fmt.Sprintf("%+v", s)
	})
	shared.Await(t, "nothing awaits git", func() (bool, string) {
		c := meta.FindStatusCondition(shared.GitSync(t).Status.Conditions, v1alpha1.ConditionDrifted)
		return !strings.Contains(c.Message, ns+"/web"), c.Message
	})
	alarms.ends("MainstayAwaitingGit")
	if got := imageOf(t, ns); got != "nginx:1.28" {
		t.Errorf("image = %s, want what is in git now", got)
	}
	tells(t, []episode{
		{"alice is refused", `"decision":"` + id + `"`},
		{"she asks", "alice asks for break-glass for 8s: INC-9"},
		{"her own approval is refused", "alice has asked for it: somebody else has to approve it"},
		{"bob approves", "bob approves the break-glass of alice"},
		{"she uses it", `"rule":"grant.` + system + "/" + name + `"`},
		{"the change is held", "held as it is until git says the same"},
	})
}

// The same night with an end that goes back: git's value is there again within
// a moment of the grant's end.
func TestTheNightThatGoesBack(t *testing.T) {
	const ns = "goesback"
	app(t, ns)
	alarms := alarmed(t)
	out, err := setImage(t, "alice", ns, "nginx:1.28")
	refusedWith(t, "alice is blocked", "breakglass request", out, err)
	id := regexp.MustCompile(`breakglass request (\w+) --for`).FindStringSubmatch(out)[1]
	out, status := bgCommand(t, "alice", "request", id, "--for", "8s", "--at-end", "Revert", "--reason", "INC-10: to look closer")
	if status != 0 {
		t.Fatalf("asking: status %d, %s", status, out)
	}
	name := regexp.MustCompile(`bg-` + id + `-\w+`).FindString(out)
	if out, status := bgCommand(t, "bob", "approve", name); status != 0 {
		t.Fatalf("bob approves: %s", out)
	}
	out = permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	if !strings.Contains(out, "this is reverted, which restarts the pods of deployment/web") {
		t.Errorf("kubectl said %q, want what comes at the end", out)
	}
	phase(t, name, v1alpha1.PhaseEnded)
	shared.Await(t, "git's value is back", func() (bool, string) {
		got := imageOf(t, ns)
		return got == "nginx:1.27", got
	})
	alarms.await(nil, "MainstayGrantActive")
	alarms.ends("MainstayAwaitingGit")
	tells(t, []episode{
		{"alice is refused", `"decision":"` + id + `"`},
		{"she asks", "alice asks for break-glass for 8s: INC-10"},
		{"bob approves", "bob approves the break-glass of alice"},
		{"she uses it", `"rule":"grant.` + system + "/" + name + `"`},
		{"it is reverted", ns + "/web"},
	})
	shared.Await(t, "it is shown", func() (bool, string) {
		out, _ := bgCommand(t, "bob", "show", name)
		return regexp.MustCompile(`reverted +Deployment.apps ` + ns + `/web`).MatchString(out), out
	})
}

// episode is a part of a night, and what a line of the ledger says of it.
type episode struct{ what, says string }

// tells checks that mainstay log has the whole night, in its order.
func tells(t *testing.T, story []episode) {
	t.Helper()
	shared.Await(t, "the log tells the story in its order", func() (bool, string) {
		status, out := atPrompt(t, "bob", "log", "--since", "1h", "--all", "-o", "json")
		next := 0
		for line := range strings.Lines(out) {
			if next < len(story) && strings.Contains(line, story[next].says) {
				next++
			}
		}
		if next < len(story) {
			return false, fmt.Sprintf("status %d, not found: %s", status, story[next].what)
		}
		return true, ""
	})
}

// patchOf is what breakglass patch prints for the clone.
func patchOf(t *testing.T, name string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shared.Program, "breakglass", "patch", name, "--context", "alice", "--clone", shared.Repo)
	cmd.Env = append(os.Environ(), shared.State.Environment(os.Getenv("PATH"))...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("breakglass patch: %v: %s", err, out)
	}
	return out
}

// The git server is down when a grant ends whose changes go back.
func TestTheNightWithoutGit(t *testing.T) {
	const ns, name = "nogit", "nogit-hotfix"
	app(t, ns)
	spec := fmt.Sprintf(`"atEnd":"Revert","duration":"6s","emergency":true,"scope":{"namespaces":[%q]}`, ns)
	if out, err := asked(t, "alice", name, spec); err != nil {
		t.Fatal(out)
	}
	out := permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	if !strings.Contains(out, "this is reverted, which restarts the pods of deployment/web") {
		t.Errorf("kubectl said %q, want what comes at the end", out)
	}
	away := shared.State.Repository + ".away"
	world.Must(t, os.Rename(shared.State.Repository, away))
	back := func() { _ = os.Rename(away, shared.State.Repository) }
	t.Cleanup(back)

	phase(t, name, v1alpha1.PhaseEnded)
	awaits(t, ns+"/web", "the repository can't be read since")
	if got := imageOf(t, ns); got != "nginx:1.28" {
		t.Fatalf("image = %s while git is down, want what was changed", got)
	}
	back()
	awaits(t, ns+"/web", "the repository can be read again; git's values come back at")
	if out, status := bgCommand(t, "alice", "revert", name); status != 0 || !strings.Contains(out, "Git's values are back") {
		t.Errorf("giving it up: status %d, %s", status, out)
	}
	if got := imageOf(t, ns); got != "nginx:1.27" {
		t.Errorf("image = %s, want git's", got)
	}
}
