// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// attempt tries what a row is about, and looks whether what the row declares
// is what it was.
type attempt struct {
	*testing.T
	row       *row
	namespace string
	result    *result
	before    map[string]any
	since     time.Time
}

func (a *attempt) begin() { a.before = a.declared(false) }

// end looks at what the row declares.
func (a *attempt) end() {
	a.Helper()
	defer a.explain()
	if a.Failed() {
		return
	}
	switch a.row.want {
	case refused, ignored:
		if diff := cmp.Diff(a.before, a.declared(false)); diff != "" {
			a.Errorf("what git declares has changed all the same (-before +after):\n%s", diff)
		}
	case repaired:
		if a.result.took == 0 {
			a.repaired()
		}
		if a.result.took > a.row.within {
			a.Errorf("repaired after %s, want at most %s", a.result.took, a.row.within)
		}
		a.Logf("repaired after %s", a.result.took)
	case bounded, detected, free, elsewhere, none:
	}
}

// explain shows what Mainstay has said about a row that failed.
func (a *attempt) explain() {
	if !a.Failed() {
		return
	}
	raw, err := os.ReadFile(shared.State.ControllerLog())
	if err != nil {
		return
	}
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, a.namespace) {
			a.Log(strings.TrimSpace(line))
		}
	}
}

// repaired waits until all is as it was; an object that was made again has
// another uid.
func (a *attempt) repaired() {
	a.Helper()
	before := loose(a.before)
	shared.Await(a.T, "all is as git says", func() (bool, string) {
		diff := cmp.Diff(before, a.declared(true))
		return diff == "", diff
	})
	a.result.took = max(a.result.took, time.Since(a.since))
}

// slipped notes that something got past the door now.
func (a *attempt) slipped() { a.since = time.Now() }

// declared is everything that the row declares: what is in it, and whose it
// is. What the control plane writes all the time is left out.
func (a *attempt) declared(again bool) map[string]any {
	a.Helper()
	all := map[string]any{}
	for _, file := range a.row.files() {
		for doc := range strings.SplitSeq(file, "\n---\n") {
			object := &unstructured.Unstructured{}
			world.Must(a.T, yaml.Unmarshal([]byte(doc), &object.Object))
			name := object.GetKind() + " " + object.GetName()
			err := shared.Client.Get(world.Lasting(a.T), client.ObjectKeyFromObject(object), object)
			if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
				all[name] = "gone"
				continue
			}
			world.Must(a.T, err)
			all[name] = bare(object)
		}
	}
	if again {
		return loose(all)
	}
	return all
}

// bare is an object without what is not declared.
func bare(object *unstructured.Unstructured) map[string]any {
	delete(object.Object, "status")
	var mine any
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == "mainstay" && entry.Operation == "Apply" && entry.Subresource == "" {
			mine = string(entry.FieldsV1.GetRawBytes())
		}
	}
	annotations := object.GetAnnotations()
	delete(annotations, "deployment.kubernetes.io/revision")
	delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
	if len(annotations) == 0 {
		annotations = nil
	}
	object.SetAnnotations(annotations)
	unstructured.RemoveNestedField(object.Object, "metadata", "resourceVersion")
	unstructured.RemoveNestedField(object.Object, "metadata", "managedFields")
	object.Object["fields of Mainstay"] = mine
	return object.Object
}

// loose leaves out what differs in an object that was written or made again.
func loose(all map[string]any) map[string]any {
	out := map[string]any{}
	for name, object := range all {
		o, ok := object.(map[string]any)
		if !ok {
			out[name] = object
			continue
		}
		o = (&unstructured.Unstructured{Object: o}).DeepCopy().Object
		for _, field := range []string{"uid", "generation", "creationTimestamp"} {
			unstructured.RemoveNestedField(o, "metadata", field)
		}
		out[name] = o
	}
	return out
}

// kubectl runs kubectl as a user in the row's namespace. A line is split at
// spaces: JSON in it has none.
func (a *attempt) kubectl(user, stdin, line string) (string, error) {
	a.Helper()
	args := strings.Fields(in(a.namespace, line))
	if !slices.Contains(args, "-n") {
		args = append([]string{"-n", a.namespace}, args...)
	}
	return shared.Kubectl(a.T, user, in(a.namespace, stdin), args...)
}

// tries are command lines of kubectl and what the refusal says.
type tries map[string]string

// refused tries as alice, and wants Mainstay's refusal.
func (a *attempt) refused(all tries) { a.Helper(); a.refusedFor("alice", "", all) }

// refusedFor tries as another user, or with a manifest.
func (a *attempt) refusedFor(user, stdin string, all tries) {
	a.Helper()
	for line, say := range all {
		out, err := a.kubectl(user, stdin, line)
		a.denied(line, out, err, say)
	}
}

// denied wants that a try was refused by Mainstay, with these words.
func (a *attempt) denied(what, out string, err error, say string) {
	a.Helper()
	a.result.tries++
	switch {
	case err == nil:
		a.Errorf("%s: permitted: %s", what, out)
	case !strings.Contains(out, "denied the request") || !strings.Contains(out, in(a.namespace, say)):
		a.Errorf("%s: %q, want the refusal with %q", what, out, in(a.namespace, say))
	}
}

// works tries as alice what has to be let through.
func (a *attempt) works(lines ...string) {
	a.Helper()
	for _, line := range lines {
		a.result.tries++
		if out, err := a.kubectl("alice", "", line); err != nil {
			a.Errorf("%s: %s", line, out)
		}
	}
}

// must is a step that is no try: it has to succeed.
func (a *attempt) must(user, stdin, line string) string {
	a.Helper()
	out, err := a.kubectl(user, stdin, line)
	if err != nil {
		a.Fatalf("%s: %s", line, out)
	}
	return out
}

// as is a client of a user, or of whom she pretends to be.
func (a *attempt) as(user string, impersonate rest.ImpersonationConfig) kubernetes.Interface {
	a.Helper()
	config, err := shared.State.RESTConfig(user)
	world.Must(a.T, err)
	config.Impersonate = impersonate
	c, err := kubernetes.NewForConfig(config)
	world.Must(a.T, err)
	return c
}

// text is what an error says.
func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
