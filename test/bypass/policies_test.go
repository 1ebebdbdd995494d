// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// policies are about Rego that permits more than it should.
func policies() []*row {
	return []*row{
		{
			id:     "3a 13 string matching",
			threat: "a name or a value that looks like the one that is excepted",
			how:    "exceptions for the user dana and for one account, tried as dana2, Dana, system:dana, and accounts with longer names",
			want:   refused,
			try: func(a *attempt) {
				a.policy("mainstay-system", `package NAME

import data.mainstay.lib

exception contains {"reason": "dana scales", "paths": ["spec.replicas"]} if {
	input.namespace == "NS"
	lib.by_user("dana")
}

exception contains {"reason": "and so does the scaler", "paths": ["spec.replicas"]} if {
	input.namespace == "NS"
	lib.by_service_account("scaler", "scaler")
}
`)
				for _, name := range []string{"dana2", "Dana", "dana:", "system:dana", "system:serviceaccount:scaler:scaler2", "system:serviceaccount:scaler2:scaler", "scaler:scaler"} {
					a.refused(tries{"--as=" + name + " --as-group=system:masters scale deployment/web --replicas=3": "spec.replicas"})
				}
			},
		},
		{
			id:      "3a 18 network",
			threat:  "a policy that carries data out, or asks someone else",
			how:     "ChangePolicies with http.send, net.lookup_ip_addr, opa.runtime and rego.parse_module",
			want:    refused,
			because: "they do not compile: the refusal names file, line and function",
			try: func(a *attempt) {
				for name, call := range map[string]string{
					"http.send":          `http.send({"method": "get", "url": "https://example.org"})`,
					"net.lookup_ip_addr": `net.lookup_ip_addr("example.org")`,
					"opa.runtime":        `opa.runtime()`,
					"rego.parse_module":  `rego.parse_module("x", "package x")`,
				} {
					a.policyRefused(name, fmt.Sprintf("package NAME\n\nexception contains {\"reason\": \"x\", \"paths\": [\"**\"]} if {\n\tinput.namespace == \"NS\"\n\t%s\n}\n", call))
				}
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
			},
		},
		{
			id:     "3a 2 slow policy",
			threat: "a policy that never ends",
			how:    "an exception that counts for hours before it permits; an edit, whose answer has to come in time",
			want:   refused,
			try: func(a *attempt) {
				a.policy("mainstay-system", `package NAME

exception contains {"reason": "after a while", "paths": ["**"]} if {
	input.namespace == "NS"
	some i in numbers.range(1, 100000)
	some j in numbers.range(1, 100000)
	i * j == 0 - 1
}

exception contains {"reason": "at once", "paths": ["metadata.labels.never"]} if {
	input.namespace == "NS"
}
`)
				start := time.Now()
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
				if took := time.Since(start); took > 3*time.Second {
					a.Errorf("the answer took %s", took)
				}
			},
		},
		{
			id:     "3c failing policy",
			threat: "an error in a policy, taken for a yes",
			how:    "exceptions that divide by zero, answer what the contract does not know, cover a path that is none; a deny that fails",
			want:   refused,
			try: func(a *attempt) {
				a.policy("mainstay-system", "package NAME\n\n"+`exception contains {"reason": "x", "paths": ["**"]} if { input.namespace == "NS"; 1 / (count(input.changes) - count(input.changes)) > 0 }`+"\n")
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
				for head, say := range map[string]string{
					`{"reason": "x", "paths": ["**"], "everything": true}`: "everything",
					`{"paths": ["**"]}`: "reason",
					`"yes"`:             "exception",
				} {
					a.policyRefused(say, "package NAME\n\n\n\nexception contains "+head+" if input.namespace == \"NS\"\n")
				}
				for _, head := range []string{`{"reason": "x", "paths": [input.name]}`, `{"reason": input.name, "paths": input.name}`, `object.union({"reason": "x", "paths": ["**"]}, {input.name: true})`} {
					a.policy("mainstay-system", "package NAME\n\nexception contains "+head+" if input.namespace == \"NS\"\n")
					a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
				}
				a.policy("mainstay-system", "package NAME\n\n"+`deny contains {"reason": "x"} if { input.namespace == "NS"; input.origin == "request"; to_number("x") > 0 }`+"\n")
				a.refused(tries{"rollout restart deployment/web": "deny rule could not be judged"})
			},
		},
		{
			id:     "3c policy elsewhere",
			threat: "a policy in a namespace of one's own, about another one",
			how:    "a ChangePolicy in another namespace that permits everything",
			want:   refused,
			try: func(a *attempt) {
				a.must("alice", "", "create namespace NS-b")
				a.policy(a.namespace+"-b", "package NAME\n\nexception contains {\"reason\": \"x\", \"paths\": [\"**\"]}\n\nexception contains {\"reason\": \"y\"}\n")
				a.refused(tries{
					"set image deployment/web web=nginx:1.28": asked,
					"delete deployment web":                   removeThere,
				})
			},
		},
		{
			id:      "3c two exceptions",
			threat:  "two exceptions that permit together what neither permits",
			how:     "one exception for an annotation, one for a label; both set at once, and a third beside them",
			want:    bounded,
			because: "the paths of exceptions add up, and a change has to be covered entirely",
			try: func(a *attempt) {
				a.policy("mainstay-system", `package NAME

exception contains {"reason": "x", "paths": ["metadata.annotations.one"]} if input.namespace == "NS"

exception contains {"reason": "y", "paths": ["metadata.labels.two"]} if input.namespace == "NS"
`)
				set := func(more string) string {
					return `patch deployment web --type=merge -p={"metadata":{"annotations":{"one":"x"},"labels":{"two":"x"` + more + `}}}`
				}
				a.refused(tries{set(`,"three":"x"`): "metadata.labels.three"})
				a.works(set(""))
			},
		},
		{
			id:     "3c break-glass alone",
			threat: "an emergency that someone grants to herself",
			how:    "a request in another's name, one that is approved as it is made, an approval by its requester, in another's name, by status, and of a request that was edited; an emergency grant without the group; then the edit",
			want:   refused,
			try: func(a *attempt) {
				request := func(more string) string {
					return "apiVersion: mainstay.dev/v1alpha1\nkind: BreakGlass\nmetadata: {name: NS, namespace: NS}\nspec:\n  reason: x\n  duration: 1h\n  scope: {kinds: [Deployment], names: [web], paths: ['**']}\n" + more
				}
				for more, say := range map[string]string{
					"  requestedBy: bob\n":                        "must be the name of whoever writes it",
					"  requestedBy: alice\n  approvedBy: bob\n":   "leave it empty",
					"  requestedBy: alice\n  approvedBy: alice\n": "leave it empty",
				} {
					a.refusedFor("alice", request(more), tries{"create -f -": say})
				}
				a.refusedFor("admin", request("  requestedBy: dana\n  emergency: true\n"),
					tries{"--as=dana --as-group=system:masters create -f -": "do without an approval"})
				a.must("alice", request("  requestedBy: alice\n"), "create -f -")
				a.refused(tries{
					`patch breakglass NS --type=merge -p={"spec":{"approvedBy":"alice"}}`:                    "breakglasses",
					`patch breakglass NS --type=merge -p={"spec":{"approvedBy":"bob"}}`:                      "breakglasses",
					`patch breakglass NS --subresource=status --type=merge -p={"status":{"phase":"Active"}}`: "breakglasses",
					"set image deployment/web web=nginx:1.28":                                                asked,
				})
				a.refused(tries{`--as=` + account + ` patch breakglass NS --type=merge -p={"spec":{"approvedBy":"bob"}}`: "breakglasses"})
				if out, err := a.kubectl("alice", "", `--as=`+account+` patch breakglass NS --subresource=status --type=merge -p={"status":{"phase":"Active"}}`); err != nil {
					a.Errorf("a status in Mainstay's name, which it writes again: %s", out)
				}
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
			},
		},
		{
			id:      "3c two grants",
			threat:  "two grants that permit together what neither permits",
			how:     "one approved grant for an annotation, one for a label; both at once, and each alone",
			want:    bounded,
			because: "at most one grant counts for a change",
			try: func(a *attempt) {
				for name, path := range map[string]string{"one": "metadata.annotations.one", "two": "metadata.labels.two"} {
					a.must("alice", "apiVersion: mainstay.dev/v1alpha1\nkind: BreakGlass\nmetadata: {name: "+name+", namespace: NS}\nspec:\n  reason: x\n  duration: 1h\n  requestedBy: alice\n  scope: {kinds: [Deployment], names: [web], paths: ['"+path+"']}\n", "create -f -")
					a.must("bob", "", `patch breakglass `+name+` --type=merge -p={"spec":{"approvedBy":"bob"}}`)
				}
				both := `patch deployment web --type=merge -p={"metadata":{"annotations":{"one":"x"},"labels":{"two":"x"}}}`
				a.refusedFor("bob", "", tries{"annotate deployment web one=x": "metadata.annotations.one"})
				shared.Await(a.T, "the grants are in force", func() (bool, string) {
					one, err := a.kubectl("alice", "", "annotate deployment web one=x --dry-run=server")
					two, err2 := a.kubectl("alice", "", "label deployment web two=x --dry-run=server")
					return err == nil && err2 == nil, one + two
				})
				a.refused(tries{both: "metadata."})
				a.works("annotate deployment web one=x", "label deployment web two=x")
				a.refused(tries{"annotate deployment web one=x three=x --overwrite": "metadata.annotations.three", "delete deployment web": removeThere})
			},
		},
		{
			id:      "3c policy in place",
			threat:  "a policy made by who may, to permit what one is about to do",
			how:     "a ChangePolicy in Mainstay's namespace by someone who may edit another, and by alice",
			want:    free,
			because: "whoever may write ChangePolicies in Mainstay's namespace decides what stands; the built-in role edit does not, and the ledger names the rule",
			try: func(a *attempt) {
				a.must("admin", "", "create rolebinding edit --clusterrole=edit --user=NS")
				for _, ns := range []string{"mainstay-system", a.namespace} {
					a.result.tries++
					out, err := a.kubectl("admin", a.changePolicy(ns, "package NAME\n\nexception contains {\"reason\": \"x\", \"paths\": [\"**\"]} if input.namespace == \"NS\"\n"), "--as=NS -n "+ns+" create -f -")
					if err == nil || !strings.Contains(out, "cannot create") {
						a.Errorf("someone who may edit made a ChangePolicy in %s: %s", ns, out)
					}
				}
				a.policy("mainstay-system", "package NAME\n\nexception contains {\"reason\": \"x\", \"paths\": [\"metadata.labels.a\"]} if input.namespace == \"NS\"\n")
				a.works("label deployment web a=b")
			},
		},
	}
}

// changePolicy is a manifest with one module; NAME is the row's package.
func (a *attempt) changePolicy(namespace, module string) string {
	name := strings.ReplaceAll(a.namespace, "-", "_")
	module = strings.ReplaceAll(in(a.namespace, module), "NAME", name)
	return "apiVersion: mainstay.dev/v1alpha1\nkind: ChangePolicy\nmetadata: {name: " + a.namespace + ", namespace: " + namespace + "}\nspec:\n  modules:\n    policy.rego: |\n      " +
		strings.ReplaceAll(strings.TrimSpace(module), "\n", "\n      ") + "\n"
}

// policy puts a module in force until the row is done.
func (a *attempt) policy(namespace, module string) {
	a.Helper()
	if c := a.policyJudged(namespace, module); c.Status != metav1.ConditionTrue {
		a.Fatalf("the policy is not in force: %s", c.Message)
	}
}

// policyRefused wants a module not to be accepted, for what is in line 5.
func (a *attempt) policyRefused(say, module string) {
	a.Helper()
	out, err := a.kubectl("alice", a.changePolicy("mainstay-system", module), "apply -f - -n mainstay-system")
	a.denied(say, out, err, "policy.rego:5:")
	if !strings.Contains(out, say) {
		a.Errorf("the refusal does not name %s: %s", say, out)
	}
}

func (a *attempt) policyJudged(namespace, module string) *metav1.Condition {
	a.Helper()
	a.must("admin", a.changePolicy(namespace, module), "apply -f - -n "+namespace)
	cp := &v1alpha1.ChangePolicy{}
	a.Cleanup(func() {
		a.must("admin", "", "delete changepolicy "+a.namespace+" --ignore-not-found -n "+namespace)
	})
	var ready *metav1.Condition
	shared.Await(a.T, "the policy is judged", func() (bool, string) {
		world.Must(a.T, shared.Client.Get(a.Context(), client.ObjectKey{Namespace: namespace, Name: a.namespace}, cp))
		ready = meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.ObservedGeneration == cp.Generation, fmt.Sprint(ready)
	})
	return ready
}
