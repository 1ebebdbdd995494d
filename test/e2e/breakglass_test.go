// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

const system = "mainstay-system"

// asked makes a BreakGlass as a user, in Mainstay's namespace.
func asked(t *testing.T, user, name, spec string) (string, error) {
	t.Helper()
	return shared.Kubectl(t, user, fmt.Sprintf(`{"apiVersion":"mainstay.dev/v1alpha1","kind":"BreakGlass",
		"metadata":{"name":%q,"namespace":%q},"spec":{"requestedBy":%q,"reason":"INC-7","duration":"1h",%s}}`, name, system, user, spec),
		"create", "-f", "-")
}

func patched(t *testing.T, user, name, spec string, args ...string) (string, error) {
	t.Helper()
	return shared.Kubectl(t, user, "", append([]string{
		"-n", system, "patch", "breakglass", name, "--type=merge", "-p", `{"spec":` + spec + `}`,
	}, args...)...)
}

func breakGlass(t *testing.T, name string) *v1alpha1.BreakGlass {
	t.Helper()
	bg := new(v1alpha1.BreakGlass)
	world.Must(t, shared.Client.Get(t.Context(), types.NamespacedName{Namespace: system, Name: name}, bg))
	return bg
}

func phase(t *testing.T, name, want string) {
	t.Helper()
	shared.Await(t, name+" is "+want, func() (bool, string) {
		got := breakGlass(t, name).Status.Phase
		return got == want, got
	})
}

func setImage(t *testing.T, user, ns, image string, args ...string) (string, error) {
	t.Helper()
	return shared.Kubectl(t, user, "", append([]string{"-n", ns, "set", "image", "deployment/web", "web=" + image}, args...)...)
}

func permitted(t *testing.T, what string, try func() (string, error)) string {
	t.Helper()
	var said string
	shared.Await(t, what, func() (bool, string) {
		out, err := try()
		said = out
		return err == nil, out
	})
	return said
}

func refusedWith(t *testing.T, what, say string, out string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(out, say) {
		t.Errorf("%s: %q, %v, want a refusal that says %q", what, out, err, say)
	}
}

func imageOf(t *testing.T, ns string) string {
	t.Helper()
	return web(t, ns).Spec.Template.Spec.Containers[0].Image
}

// Way out 1: somebody else is awake.
func TestAnotherPersonApprovesWhatWasRefused(t *testing.T) {
	const ns, name = "approved", "approved-hotfix"
	app(t, ns, "api.yaml", strings.ReplaceAll(held, "name: web, namespace", "name: api, namespace"))
	out, err := setImage(t, "alice", ns, "nginx:1.28")
	refusedWith(t, "before", "  emergency:  kubectl mainstay breakglass request ", out, err)
	id := regexp.MustCompile(`breakglass request (\w+) --for`).FindStringSubmatch(out)
	if id == nil {
		t.Fatalf("there is no id in %q", out)
	}
	if out, err := asked(t, "alice", name, `"atEnd":"Revert","decision":"`+id[1]+`"`); err != nil {
		t.Fatal(out)
	}
	phase(t, name, v1alpha1.PhaseRequested)
	bg := breakGlass(t, name)
	if s := bg.Status.Scope; s == nil || fmt.Sprint(*s) != fmt.Sprint(v1alpha1.BreakGlassScope{
		Namespaces: []string{ns}, Kinds: []string{"Deployment.apps"}, Names: []string{"web"}, Operations: []string{"UPDATE"},
		Paths: []string{"spec.template.spec.containers[name=web].image"},
	}) {
		t.Errorf("the decision stands for %+v", s)
	}
	out, err = setImage(t, "alice", ns, "nginx:1.28")
	refusedWith(t, "not approved yet", "is held by git", out, err)

	for what, try := range map[string]struct{ user, spec, say string }{
		"approving one's own request":     {"alice", `{"approvedBy":"alice"}`, "somebody else has to approve it"},
		"approving in another's name":     {"alice", `{"approvedBy":"bob"}`, "must be the name of whoever writes it"},
		"approving and making it longer":  {"bob", `{"approvedBy":"bob","duration":"2h"}`, "a request can't be edited"},
		"approving and revoking at once":  {"bob", `{"approvedBy":"bob","revoked":true}`, "not both at once"},
		"asking for more":                 {"alice", `{"decision":null,"scope":{"namespaces":["` + ns + `"]}}`, "a request can't be edited"},
		"letting others use it":           {"alice", `{"subjects":[{"kind":"Group","name":"developers"}]}`, "a request can't be edited"},
		"turning it into an emergency":    {"alice", `{"emergency":true}`, "a request can't be edited"},
		"pretending another has asked it": {"alice", `{"requestedBy":"cy"}`, "a request can't be edited"},
	} {
		out, err := patched(t, try.user, name, try.spec)
		refusedWith(t, what, try.say, out, err)
	}
	if out, err := patched(t, "bob", name, `{"approvedBy":"bob"}`, "--dry-run=server"); err != nil {
		t.Errorf("a dry run of the approval: %s", out)
	}
	out, err = setImage(t, "alice", ns, "nginx:1.28")
	refusedWith(t, "approved by a dry run", "is held by git", out, err)

	if out, err := patched(t, "bob", name, `{"approvedBy":"bob"}`); err != nil {
		t.Fatal(out)
	}
	phase(t, name, v1alpha1.PhaseActive)
	until := breakGlass(t, name).Status.ExpiresAt.UTC().Format("15:04 UTC")
	out = permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	if !strings.Contains(out, "Warning: permitted by break-glass "+name+" until "+until) {
		t.Errorf("kubectl said %q, want the warning", out)
	}
	if out, err := setImage(t, "alice", ns, "nginx:1.29", "--dry-run=server"); err != nil || !strings.Contains(out, "would be permitted by break-glass") {
		t.Errorf("a dry run: %q, %v", out, err)
	}
	out, err = shared.Kubectl(t, "alice", "", "-n", ns, "set", "image", "deployment/api", "web=nginx:1.28")
	refusedWith(t, "another object", "is held by git", out, err)
	out, err = shared.Kubectl(t, "alice", "", "-n", ns, "scale", "deployment/web", "--replicas=5")
	refusedWith(t, "another path", "is held by git", out, err)
	out, err = shared.Kubectl(t, "alice", "", "-n", ns, "delete", "deployment", "web")
	refusedWith(t, "deleting it", "to delete it, remove it there", out, err)
	out, err = setImage(t, "bob", ns, "nginx:1.29")
	refusedWith(t, "somebody else", "is held by git", out, err)

	t.Run("it stays while the grant is active", func(t *testing.T) {
		world.Must(t, shared.Controller(t).Stop(t.Context(), 0))
		shared.Restart(t)
		shared.Pushed(t, map[string]string{ns + "/note.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: note, namespace: " + ns + "}\n"})
		if got := imageOf(t, ns); got != "nginx:1.28" {
			t.Errorf("image = %s, want what the grant permitted", got)
		}
		permitted(t, "alice may, after a restart", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.30") })
	})
	t.Run("its uses are seen", func(t *testing.T) {
		shared.Await(t, "the status tells of the uses", func() (bool, string) {
			uses := breakGlass(t, name).Status.Uses
			return len(uses) >= 2 && uses[0].User == "alice" && uses[0].Object == "Deployment.apps "+ns+"/web" &&
				fmt.Sprint(uses[0].Paths) == "[spec.template.spec.containers[name=web].image]", fmt.Sprintf("%+v", uses)
		})
		for object, in := range map[string]string{name: system, "web": ns} {
			shared.Await(t, "an Event GrantUsed on "+object, func() (bool, string) {
				out, err := shared.Kubectl(t, "admin", "", "-n", in, "get", "events", "-o",
					`jsonpath={range .items[?(@.reason=="GrantUsed")]}{.involvedObject.name} {end}`)
				return err == nil && strings.Contains(out, object), out
			})
		}
	})
	out, err = patched(t, "bob", name, `{"approvedBy":"cy"}`)
	refusedWith(t, "changing the approval", "an approval can't be changed", out, err)

	if out, err := patched(t, "alice", name, `{"revoked":true}`); err != nil {
		t.Fatal(out)
	}
	shared.Await(t, "git's image is back", func() (bool, string) {
		got := imageOf(t, ns)
		return got == "nginx:1.27", got
	})
	phase(t, name, v1alpha1.PhaseRevoked)
	out, err = setImage(t, "alice", ns, "nginx:1.28")
	refusedWith(t, "after the grant was revoked", "is held by git", out, err)
	out, err = patched(t, "alice", name, `{"revoked":false}`)
	refusedWith(t, "taking the revocation back", "stays revoked", out, err)
}

// Way out 2: nobody else is awake.
func TestAnEmergencyNeedsNobodyElse(t *testing.T) {
	const ns, name = "emergencies", "emergencies-hotfix"
	app(t, ns)
	shared.Await(t, "the Deployment is held", func() (bool, string) {
		out, err := setImage(t, "alice", ns, "nginx:1.28")
		return err != nil, out
	})
	scope := `"scope":{"namespaces":["` + ns + `"],"operations":["UPDATE","DELETE"]},"emergency":true`
	out, err := asked(t, "admin", "no-member", scope)
	refusedWith(t, "who is in none of the groups", "only members of developers may do without an approval", out, err)

	if out, err := asked(t, "alice", name, scope); err != nil {
		t.Fatal(out)
	}
	permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	phase(t, name, v1alpha1.PhaseActive)
	out, err = patched(t, "bob", name, `{"approvedBy":"bob"}`)
	refusedWith(t, "approving it", "an emergency grant needs nobody's approval", out, err)
	shared.Await(t, "an Event EmergencyGrant", func() (bool, string) {
		out, err := shared.Kubectl(t, "admin", "", "-n", system, "get", "events", "-o",
			`jsonpath={range .items[?(@.reason=="EmergencyGrant")]}{.type} {.involvedObject.name} {end}`)
		return err == nil && strings.Contains(out, "Warning "+name), out
	})

	// What was deleted under the grant stays away while it is active.
	if out, err := shared.Kubectl(t, "alice", "", "-n", ns, "delete", "deployment", "web"); err != nil {
		t.Fatal(out)
	}
	shared.Pushed(t, map[string]string{ns + "/note.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: note, namespace: " + ns + "}\n"})
	gone := func() error {
		return shared.Client.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "web"}, &metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		})
	}
	if err := gone(); !apierrors.IsNotFound(err) {
		t.Errorf("the deleted Deployment is back while the grant is active: %v", err)
	}
	if out, err := shared.Kubectl(t, "alice", "", "-n", system, "delete", "breakglass", name); err != nil {
		t.Fatal(out)
	}
	shared.Await(t, "it is back as git says", func() (bool, string) {
		if err := gone(); err != nil {
			return false, err.Error()
		}
		got := imageOf(t, ns)
		return got == "nginx:1.27", got
	})
}

func TestAGrantEnds(t *testing.T) {
	const ns, name = "ending", "ending-hotfix"
	app(t, ns)
	if out, err := shared.Kubectl(t, "alice", fmt.Sprintf(`{"apiVersion":"mainstay.dev/v1alpha1","kind":"BreakGlass",
		"metadata":{"name":%q,"namespace":%q},"spec":{"requestedBy":"alice","reason":"INC-7","duration":"4s","emergency":true,"atEnd":"Revert",
		"scope":{"namespaces":[%q]}}}`, name, system, ns), "create", "-f", "-"); err != nil {
		t.Fatal(out)
	}
	permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	shared.Await(t, "git's image is back", func() (bool, string) {
		got := imageOf(t, ns)
		return got == "nginx:1.27", got
	})
	phase(t, name, v1alpha1.PhaseEnded)
	out, err := setImage(t, "alice", ns, "nginx:1.28")
	refusedWith(t, "after its end", "is held by git", out, err)
	end := breakGlass(t, name).Status.ExpiresAt
	if end == nil || time.Now().Before(end.Time) {
		t.Errorf("it ended before %v", end)
	}
}

func TestWhatIsNotApprovedGrantsNothing(t *testing.T) {
	const ns = "forgeries"
	app(t, ns)
	scope := `"scope":{"namespaces":["` + ns + `"]}`
	try := func(what string) {
		t.Helper()
		out, err := setImage(t, "alice", ns, "nginx:1.28")
		refusedWith(t, what, "is held by git", out, err)
	}

	t.Run("without the verb approve", func(t *testing.T) {
		approverWithoutTheVerb(t, "carol")
		if out, err := asked(t, "alice", "by-carol", scope); err != nil {
			t.Fatal(out)
		}
		out, err := patched(t, "admin", "by-carol", `{"approvedBy":"carol"}`, "--as=carol")
		refusedWith(t, "carol approves", "carol may not approve it: that takes the verb approve", out, err)
		out, err = patched(t, "admin", "by-carol", `{"revoked":true}`, "--as=carol")
		refusedWith(t, "carol revokes", "carol may not end it", out, err)
		try("after carol has tried")
	})
	t.Run("by one who may use it", func(t *testing.T) {
		if out, err := asked(t, "alice", "for-all", scope+`,"subjects":[{"kind":"Group","name":"developers"}]`); err != nil {
			t.Fatal(out)
		}
		out, err := patched(t, "bob", "for-all", `{"approvedBy":"bob"}`)
		refusedWith(t, "bob approves", "bob may use the grant (Group developers)", out, err)
		try("after bob has tried")
	})
	t.Run("what may not be asked for", func(t *testing.T) {
		for what, tt := range map[string]struct{ spec, say string }{
			"in another's name":   {`"requestedBy":"bob",` + scope, "must be the name of whoever writes it"},
			"approved already":    {`"approvedBy":"bob",` + scope, "spec.approvedBy is for somebody else to write"},
			"for too long":        {`"duration":"5h",` + scope, "a grant may last 4h0m0s at most"},
			"an unknown decision": {`"decision":"zzzzz"`, "decision zzzzz is not known (any more): use spec.scope"},
			"everything":          {`"scope":{}`, "would cover the whole cluster"},
			"a path that is none": {`"scope":{"namespaces":["x"],"paths":["spec..x"]}`, "spec.scope.paths[0]"},
		} {
			out, err := asked(t, "alice", "no", tt.spec)
			refusedWith(t, what, tt.say, out, err)
		}
		out, err := shared.Kubectl(t, "alice", `{"apiVersion":"mainstay.dev/v1alpha1","kind":"BreakGlass","metadata":{"name":"no","namespace":"`+ns+`"},
			"spec":{"requestedBy":"alice","reason":"x","duration":"1h","scope":{"namespaces":["bank"]}}}`, "create", "-f", "-")
		refusedWith(t, "another namespace's objects", "can only be about objects of that namespace", out, err)
	})
	t.Run("a forged record", func(t *testing.T) {
		if out, err := asked(t, "alice", "forged", scope); err != nil {
			t.Fatal(out)
		}
		err := shared.Client.Update(t.Context(), forged(t, "forged", ns))
		if err == nil || !strings.Contains(err.Error(), "denied the request") {
			t.Errorf("forging the record: %v, want a refusal", err)
		}
	})
	t.Run("what was written while Mainstay did not run", func(t *testing.T) {
		for _, name := range []string{"painted", "gap", "sealed"} {
			if out, err := asked(t, "alice", name, scope); err != nil {
				t.Fatal(out)
			}
			phase(t, name, v1alpha1.PhaseRequested)
		}
		off(t, func() error {
			if out, err := patched(t, "alice", "gap", `{"approvedBy":"bob"}`); err != nil {
				return errors.New(out)
			}
			if out, err := asked(t, "alice", "unseen", `"requestedBy":"carol",`+scope); err != nil && !strings.Contains(out, "already exists") {
				return errors.New(out)
			}
			bg := breakGlass(t, "painted")
			start, end := metav1.Now(), metav1.NewTime(time.Now().Add(time.Hour))
			bg.Spec.ApprovedBy = "bob"
			if err := shared.Client.Update(t.Context(), bg); err != nil {
				return err
			}
			bg.Status.Phase, bg.Status.StartsAt, bg.Status.ExpiresAt = v1alpha1.PhaseActive, &start, &end
			if err := shared.Client.Status().Update(t.Context(), bg); err != nil {
				return err
			}
			if out, err := patched(t, "alice", "sealed", `{"approvedBy":"bob"}`); err != nil {
				return errors.New(out)
			}
			return shared.Client.Update(t.Context(), forged(t, "sealed", ns))
		})
		shared.Await(t, "the Deployment is held again", func() (bool, string) {
			out, err := setImage(t, "alice", ns, "nginx:1.28")
			return err != nil && strings.Contains(out, "is held by git"), out
		})
		out, err := patched(t, "bob", "unseen", `{"approvedBy":"bob"}`)
		refusedWith(t, "approving a request that nobody judged", "it was made while Mainstay did not judge", out, err)
		for _, name := range []string{"painted", "gap", "sealed", "unseen"} {
			phase(t, name, v1alpha1.PhaseRequested)
		}
		try("with an approval, a status and a record from the gap")
	})
}

// forged is a record of an approval that Mainstay did not write.
func forged(t *testing.T, name, ns string) *corev1.Secret {
	t.Helper()
	bg := breakGlass(t, name)
	record, err := json.Marshal(map[string]any{
		"uid": bg.UID, "namespace": system, "name": name, "digest": bg.Spec.Digest(), "requester": "alice", "approver": "bob",
		"scope": map[string]any{"namespaces": []string{ns}}, "subjects": []any{map[string]any{"kind": "User", "name": "alice"}},
		"startsAt": time.Now(), "expiresAt": time.Now().Add(time.Hour),
	})
	world.Must(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "grant-" + string(bg.UID), Namespace: system, Labels: map[string]string{"mainstay.dev/grant": "true"}},
		Type:       v1alpha1.SecretTypeGrant, Data: map[string][]byte{"record": record, "seal": []byte("00")},
	}
}

func approverWithoutTheVerb(t *testing.T, user string) {
	t.Helper()
	world.Must(t, shared.Client.Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"mainstay.dev"}, Resources: []string{"breakglasses"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"},
		}},
	}))
	world.Must(t, shared.Client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}))
}

func TestAGrantBeatsADenyThatIsNotFinal(t *testing.T) {
	const ns = "denied"
	app(t, ns)
	cp := &v1alpha1.ChangePolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "denied"},
		Spec: v1alpha1.ChangePolicySpec{Modules: map[string]string{"frozen.rego": `package frozen

deny contains {"reason": "frozen until Monday"} if input.namespace == "denied"

deny contains {"reason": "two copies, whatever happens", "final": true} if {
	input.namespace == "denied"
	some change in input.changes
	change.path == "spec.replicas"
}
`}},
	}
	world.Must(t, shared.Client.Create(t.Context(), cp))
	t.Cleanup(func() { world.Must(t, client.IgnoreNotFound(shared.Client.Delete(world.Lasting(t), cp))) })
	shared.Await(t, "the denial is loaded", func() (bool, string) {
		out, err := setImage(t, "alice", ns, "nginx:1.28")
		return err != nil && strings.Contains(out, "frozen until Monday"), out
	})
	scale := func() (string, error) {
		return shared.Kubectl(t, "alice", "", "-n", ns, "scale", "deployment/web", "--replicas=5")
	}
	out, err := scale()
	refusedWith(t, "a final denial", "two copies, whatever happens", out, err)
	if strings.Contains(out, "breakglass request") {
		t.Errorf("a refusal that no grant lifts names break-glass: %s", out)
	}
	if out, err := asked(t, "alice", "denied", `"scope":{"namespaces":["`+ns+`"]},"emergency":true`); err != nil {
		t.Fatal(out)
	}
	permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	out, err = scale()
	refusedWith(t, "a final denial", "two copies, whatever happens", out, err)
}

func TestTwoGrantsDoNotCombine(t *testing.T) {
	const ns = "combined"
	app(t, ns)
	for path, name := range map[string]string{"spec.replicas": "combined-a", "**.image": "combined-b"} {
		if out, err := asked(t, "alice", name, `"scope":{"namespaces":["`+ns+`"],"paths":["`+path+`"]},"emergency":true`); err != nil {
			t.Fatal(out)
		}
		phase(t, name, v1alpha1.PhaseActive)
	}
	patch := func(spec string) (string, error) {
		return shared.Kubectl(t, "alice", "", "-n", ns, "patch", "deployment", "web", "-p", `{"spec":`+spec+`}`)
	}
	const image = `"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}`
	out, err := patch(`{"replicas":3,` + image + `}`)
	refusedWith(t, "both at once", "is held by git", out, err)
	for _, spec := range []string{`{"replicas":3}`, `{` + image + `}`} {
		if out, err := patch(spec); err != nil {
			t.Errorf("each by itself: %s: %s", spec, out)
		}
	}
}

// bgCommand runs breakglass as a user.
func bgCommand(t *testing.T, user string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shared.Program, append([]string{"breakglass", "--context", user}, args...)...)
	cmd.Env = append(os.Environ(), shared.State.Environment(os.Getenv("PATH"))...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestTheCommandBreakGlass(t *testing.T) {
	const ns = "commanded"
	app(t, ns)
	out, err := setImage(t, "alice", ns, "nginx:1.28")
	refusedWith(t, "before", "breakglass request", out, err)
	id := regexp.MustCompile(`breakglass request (\w+) --for`).FindStringSubmatch(out)[1]
	expect := func(what, user string, status int, say string, args ...string) string {
		t.Helper()
		out, got := bgCommand(t, user, args...)
		if got != status || !strings.Contains(out, say) {
			t.Errorf("%s: status %d, %q, want %d, %q", what, got, out, status, say)
		}
		return out
	}
	expect("an unknown id", "alice", 1, "decision zzzzz is not known", "request", "zzzzz", "--for", "1h", "--reason", "x")
	expect("no reason", "alice", 2, "--reason is missing", "request", id, "--for", "1h")
	out = expect("asking", "alice", 0, "kubectl mainstay breakglass approve bg-"+id, "request", id, "--for", "1h", "--reason", "INC-7: bad image")
	for _, say := range []string{"Kinds Deployment.apps", "Namespaces " + ns, "Used by User alice", "has to approve it"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), say) {
			t.Errorf("asking prints %q, want %q", out, say)
		}
	}
	name := regexp.MustCompile(`bg-` + id + `-\w+`).FindString(out)
	expect("approving one's own", "alice", 1, "somebody else has to approve it", "approve", name)
	expect("showing", "bob", 0, "INC-7: bad image", "show", name)
	expect("approving", "bob", 0, "Active until", "approve", name)
	expect("approving again", "bob", 1, "bob has approved "+name+" already", "approve", system+"/"+name)
	permitted(t, "alice may set the image", func() (string, error) { return setImage(t, "alice", ns, "nginx:1.28") })
	shared.Await(t, "the use is shown", func() (bool, string) {
		out, _ := bgCommand(t, "bob", "show", name)
		return strings.Contains(out, "Deployment.apps "+ns+"/web"), out
	})
	expect("listing", "bob", 0, name, "list")
	var list v1alpha1.BreakGlassList
	if out, status := bgCommand(t, "bob", "list", "-o", "json", "-n", system); status != 0 || json.Unmarshal([]byte(out), &list) != nil || list.Kind != "BreakGlassList" || len(list.Items) == 0 {
		t.Errorf("-o json: status %d, %s", status, out)
	}
	expect("revoking", "alice", 0, "is revoked", "revoke", name)
	expect("what there is not", "alice", 1, "there is no breakglass nothing", "show", "nothing")
	expect("an emergency", "alice", 0, "run it again", "request", "--for", "30m", "--reason", "INC-8", "--emergency", "--in", ns, "--operation", "delete")
	if out, err := shared.Kubectl(t, "alice", "", "-n", ns, "delete", "deployment", "web"); err != nil {
		t.Errorf("what the emergency is for: %s", out)
	}
	t.Setenv("KUBECONFIG", "")
	cmd := exec.CommandContext(t.Context(), shared.Program, "breakglass", "list", "--kubeconfig", "nowhere")
	if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("without a cluster: %s, %v, want status 2", out, err)
	}
}
