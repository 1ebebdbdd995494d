// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// failing pushes a commit that can't be applied, and returns what Ready says.
func failing(t *testing.T, reason string, files map[string]string) string {
	t.Helper()
	shared.Push(t, files)
	return says(t, "shop", reason)
}

// says waits for the reason of a GitSync's Ready, and returns the message.
func says(t *testing.T, name, reason string) string {
	t.Helper()
	message := ""
	shared.Await(t, "Ready says "+reason, func() (bool, string) {
		gs := new(v1alpha1.GitSync)
		world.Must(t, shared.Client.Get(world.Lasting(t), types.NamespacedName{Namespace: system, Name: name}, gs))
		c := meta.FindStatusCondition(gs.Status.Conditions, v1alpha1.ConditionReady)
		if c == nil {
			return false, "nothing"
		}
		message = c.Message
		return c.Reason == reason, c.Reason + ": " + c.Message
	})
	return message
}

// failures are the scenarios of commits and sources that are no good.
func failures() []scenario {
	return []scenario{
		{
			id: "E12", when: "an APIService that nothing answers for; a commit; one with an object of its kind", theirs: "what is of other kinds is synced",
			ours: "the same; a commit with an object of that kind waits, and says so", why: "a commit is brought in as a whole, or not at all",
			try: brokenService,
		},
		{
			id: "E17", when: "objects of one kind in two versions", theirs: "both are reconciled",
			ours: "an error that names both places, and nothing is changed", why: "the API server stores one of them, and the webhook's rules name one: choose it for all",
			try: func(t *testing.T) {
				scaler := func(version, name string) string {
					return "apiVersion: autoscaling/" + version + "\nkind: HorizontalPodAutoscaler\nmetadata: {name: " + name +
						", namespace: e}\nspec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}}\n"
				}
				message := failing(t, "RenderFailed", map[string]string{"e/v1.yaml": scaler("v1", "one"), "e/v2.yaml": scaler("v2", "two")})
				for _, place := range []string{"e/v1.yaml:1", "e/v2.yaml:1"} {
					if !strings.Contains(message, place) {
						t.Errorf("%q does not name %s", message, place)
					}
				}
				is(t, "horizontalpodautoscaler one -n e", ".metadata.name", "absent")
				commit(t, map[string]string{"e/v1.yaml": "", "e/v2.yaml": ""})
			},
		},
		{
			id: "E19", when: "objects depend on each other; then in a circle; then on one that is not declared", theirs: "in that order; an error, and nothing is changed",
			try: func(t *testing.T) {
				commit(t, map[string]string{"e/first.yaml": dependent("z-first", ""), "e/last.yaml": dependent("a-last", "z-first")})
				version := live(t, "configmap z-first -n e", ".metadata.resourceVersion")
				if last := live(t, "configmap a-last -n e", ".metadata.resourceVersion"); len(last) < len(version) || len(last) == len(version) && last < version {
					t.Errorf("the one that depends is older: %s, %s", last, version)
				}
				message := failing(t, "Invalid", map[string]string{"e/first.yaml": dependent("z-first", "a-last")})
				if !strings.Contains(message, "ConfigMap e/a-last (e/last.yaml:1) → ConfigMap e/z-first (e/first.yaml:1)") {
					t.Errorf("%q does not name the circle", message)
				}
				shared.Push(t, map[string]string{"e/first.yaml": dependent("z-first", "nobody")})
				shared.Await(t, "Ready names what is missing", func() (bool, string) {
					message := says(t, "shop", "Invalid")
					return strings.Contains(message, "ConfigMap e/nobody"), message
				})
				is(t, "configmap z-first -n e", ".metadata.resourceVersion", version)
				commit(t, map[string]string{"e/first.yaml": dependent("z-first", "")})
			},
		},
		{
			id: "E22", when: "a commit can't be rendered", theirs: "the status says so, the last good state is kept",
			ours: "the same, and it is enforced meanwhile", why: "self-heal that ends with the first bad commit protects nobody",
			try: func(t *testing.T) {
				commit(t, map[string]string{"e/e22.yaml": "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: e22, annotations: {foo: bar}}\nwebhooks: []\n"})
				message := failing(t, "RenderFailed", map[string]string{"e/bad.yaml": "kind: [\n"})
				if !strings.Contains(message, "e/bad.yaml:1") {
					t.Errorf("%q does not name the place", message)
				}
				// No webhook sees this kind.
				allowed(t, "annotate validatingwebhookconfiguration e22 --overwrite foo=theirs")
				becomes(t, "validatingwebhookconfiguration e22", annotation("foo"), "bar")
				commit(t, map[string]string{"e/bad.yaml": ""})
			},
		},
		{
			id: "E22", when: "a branch, a commit or a folder that does not exist; a Secret that does not", theirs: "an error with a code of its own",
			ours: "the same: `RefNotFound`, `PathNotFound`, `SecretNotFound`, with names like it that exist",
			try: func(t *testing.T) {
				for reason, but := range map[string]func(*v1alpha1.Source){
					"RefNotFound":    func(s *v1alpha1.Source) { s.Ref = v1alpha1.Ref{Branch: "mian"} },
					"PathNotFound":   func(s *v1alpha1.Source) { s.Path = "othr" },
					"SecretNotFound": func(s *v1alpha1.Source) { s.SecretRef = &v1alpha1.LocalRef{Name: "nobody"} },
				} {
					t.Run(reason, func(t *testing.T) {
						second(t, func(spec *v1alpha1.GitSyncSpec) { but(&spec.Source) })
						message := says(t, "second", reason)
						if like := map[string]string{"RefNotFound": "main", "PathNotFound": "other", "SecretNotFound": "nobody"}[reason]; !strings.Contains(message, like) {
							t.Errorf("%q does not name %s", message, like)
						}
					})
				}
			},
		},
		{
			id: "E23", when: "a bad commit is pushed, then taken back by force", theirs: "recovers",
			try: func(t *testing.T) {
				failing(t, "RenderFailed", map[string]string{"e/bad.yaml": "kind: [\n"})
				shared.Git(t, "reset", "-q", "--hard", "HEAD^")
				shared.Git(t, "push", "-q", "--force")
				becomes(t, "gitsync shop -n mainstay-system", ready+".status", "True")
				shared.Applied(t)
			},
		},
	}
}

func brokenService(t *testing.T) {
	const service = "v1.e12.example.org"
	allowed(t, "create -f -", "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {name: "+service+"}\n"+
		"spec: {group: e12.example.org, version: v1, groupPriorityMinimum: 10, versionPriority: 10, insecureSkipTLSVerify: true, service: {namespace: e, name: absent}}\n")
	gone := func() {
		world.Must(t, client.IgnoreNotFound(shared.Client.Delete(world.Lasting(t), &metav1.PartialObjectMetadata{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apiregistration.k8s.io/v1", Kind: "APIService"},
			ObjectMeta: metav1.ObjectMeta{Name: service},
		})))
	}
	t.Cleanup(gone)
	becomes(t, "apiservice "+service, `.status.conditions[?(@.type=="Available")].status`, "False")
	r := follow(t, system, "e12", map[string]string{"cm.yaml": data("default", "e12", "git")})
	r.applied(t)
	r.commit(t, map[string]string{"thing.yaml": "apiVersion: e12.example.org/v1\nkind: Thing\nmetadata: {name: one, namespace: default}\n", "cm.yaml": data("default", "e12", "anew")})
	r.says(t, "KindNotInstalled", "thing.yaml:1: not known whether kind Thing exists", "unable to handle the request", "kubectl get apiservice "+service)
	is(t, "configmap e12 -n default", ".data.from", "git")
	r.commit(t, map[string]string{"thing.yaml": ""})
	r.applied(t)
	is(t, "configmap e12 -n default", ".data.from", "anew")
}
