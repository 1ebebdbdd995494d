// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// What was changed under a grant that has ended stays as it is, whoever tries
// what; and what was given up stays given up.
func TestAHeldChangeStaysHeld(t *testing.T) {
	const ns, name = "holding", "holding-hotfix"
	app(t, ns)
	approverWithoutTheVerb(t, "dan")
	if out, err := asked(t, "alice", name, `"duration":"4s","emergency":true,"scope":{"namespaces":["`+ns+`"]}`); err != nil {
		t.Fatal(out)
	}
	permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	phase(t, name, v1alpha1.PhaseEnded)
	awaits(t, ns+"/web", "by alice", name)
	uid := string(breakGlass(t, name).UID)

	bg := func(user string, args ...string) func() (string, error) {
		return func() (string, error) {
			return shared.Kubectl(t, user, "", append([]string{"-n", system}, args...)...)
		}
	}
	merge := func(user, patch string, args ...string) func() (string, error) {
		return bg(user, append([]string{"patch", "breakglass", name, "--type=merge", "-p", patch}, args...)...)
	}
	give := fmt.Sprintf(`{"metadata":{"annotations":{%q:"because"}}}`, v1alpha1.RevertAnnotation)
	refused := func(what, say string, try func() (string, error)) {
		t.Helper()
		out, err := try()
		refusedWith(t, what, say, out, err)
	}
	for what, tt := range map[string]struct {
		say string
		try func() (string, error)
	}{
		"alice edits the field again":    {"is held by git", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.29") }},
		"an administrator does":          {"is held by git", func() (string, error) { return setImage(t, "admin", ns, "nginx:1.29") }},
		"alice edits another one":        {"is held by git", bg("alice", "-n", ns, "scale", "deployment/web", "--replicas=7")},
		"alice deletes the object":       {"to delete it, remove it there", bg("alice", "-n", ns, "delete", "deployment", "web")},
		"an administrator deletes it":    {"to delete it, remove it there", bg("admin", "-n", ns, "delete", "deployment", "web")},
		"another gives it up":            {"dan may not end it", merge("admin", give, "--as=dan")},
		"another revokes it":             {"dan may not end it", merge("admin", `{"spec":{"revoked":true}}`, "--as=dan")},
		"another deletes the grant":      {"dan may not end it", bg("admin", "delete", "breakglass", name, "--as=dan")},
		"another deletes all of them":    {"dan may not end it", bg("admin", "delete", "breakglass", "--all", "--as=dan")},
		"alice wants another end":        {"can't be edited", merge("alice", `{"spec":{"atEnd":"Revert"}}`)},
		"alice wants it for longer":      {"can't be edited", merge("alice", `{"spec":{"duration":"2h"}}`)},
		"bob approves it afterwards":     {"needs nobody's approval", merge("bob", `{"spec":{"approvedBy":"bob"}}`)},
		"alice makes it again":           {"already exists", func() (string, error) { return asked(t, "alice", name, `"scope":{"namespaces":["`+ns+`"]}`) }},
		"an administrator paints it":     {"only Mainstay itself writes its status", merge("admin", `{"status":{"phase":"Active","awaitingGit":null}}`, "--subresource=status")},
		"an administrator takes records": {"only Mainstay itself writes it", bg("admin", "delete", "secret", "grant-"+uid)},
	} {
		refused(what, tt.say, tt.try)
	}
	if got := imageOf(t, ns); got != "nginx:1.28" {
		t.Fatalf("image = %s, want what is held", got)
	}
	awaits(t, ns+"/web", "by alice", name)

	if out, err := merge("alice", give)(); err != nil {
		t.Fatal(out)
	}
	for _, user := range []string{"alice", "bob", "admin"} {
		refused(user+" takes that back", "what was given up stays given up", bg(user, "annotate", "breakglass", name, v1alpha1.RevertAnnotation+"-"))
	}
	shared.Await(t, "git's image is back", func() (bool, string) {
		got := imageOf(t, ns)
		return got == "nginx:1.27", got
	})
	out, _ := bgCommand(t, "alice", "extend", name, "--for", "1h", "--reason", "more")
	if !strings.Contains(out, "was given up") {
		t.Errorf("extending what was given up: %s", out)
	}
}
