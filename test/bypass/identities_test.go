// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mainstay-gitops/mainstay/test/world"
)

const account = "system:serviceaccount:mainstay-system:mainstay"

// identities are about who asks.
func identities() []*row {
	return []*row{
		{
			id:     "3c impersonation",
			threat: "Mainstay's own account, impersonated",
			how:    "--as with its name; with its groups and uid; with every extra that its requests carry",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					"--as=" + account + " set image deployment/web web=nginx:1.28":                                         asked,
					"--as=" + account + " delete deployment web":                                                           removeThere,
					"--as=" + account + " scale deployment/web --replicas=9":                                               "spec.replicas",
					"--as=" + account + " label deployment web mainstay.dev/sync-":                                         "mainstay.dev/sync",
					"--as=" + account + " --as-group=system:serviceaccounts --as-group=system:masters delete namespace NS": `namespaces "NS"`,
				})
				self := whoIsMainstay(a)
				extra := map[string][]string{}
				for key, values := range self.Extra {
					extra[key] = values
				}
				if len(extra) == 0 {
					a.Error("Mainstay's requests carry no extra to copy")
				}
				everything := rest.ImpersonationConfig{UserName: self.Username, UID: self.UID, Groups: self.Groups, Extra: extra}
				out, err := a.image(a.as("alice", everything))
				a.denied("with every extra copied", out, err, asked)
			},
		},
		{
			id:     "3c stolen token",
			threat: "a token of Mainstay's account",
			how:    "a token asked for its account; the controller's own token: an edit, a deletion, and a scale with it",
			want:   refused,
			try: func(a *attempt) {
				_, err := a.as("alice", rest.ImpersonationConfig{}).CoreV1().ServiceAccounts("mainstay-system").CreateToken(context.WithoutCancel(a.Context()),
					"mainstay", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
				a.denied("a token for its account", text(err), err, "a token of Mainstay's account")
				stolen, err := clientcmd.BuildConfigFromFlags("", filepath.Join(shared.State.Dir, "controller.kubeconfig"))
				world.Must(a.T, err)
				c, err := kubernetes.NewForConfig(stolen)
				world.Must(a.T, err)
				out, err := a.image(c)
				a.denied("an edit", out, err, asked)
				err = c.AppsV1().Deployments(a.namespace).Delete(context.WithoutCancel(a.Context()), "web", metav1.DeleteOptions{})
				a.denied("a deletion", text(err), err, removeThere)
				_, err = c.AppsV1().Deployments(a.namespace).Patch(context.WithoutCancel(a.Context()), "web", types.MergePatchType,
					[]byte(`{"spec":{"replicas":9}}`), metav1.PatchOptions{}, "scale")
				a.denied("a scale", text(err), err, "spec.replicas")
			},
		},
		{
			id:     "3c token Secrets",
			threat: "a Secret that the token controller fills with a token of Mainstay's account",
			how:    "a Secret of that type for Mainstay's account, by create and by apply; one for another account, given to Mainstay's by annotate and by patch; as alice and as system:masters",
			want:   refused,
			try: func(a *attempt) {
				of := func(name, account string) string {
					return "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata: {name: " + name +
						", namespace: mainstay-system, annotations: {kubernetes.io/service-account.name: " + account + "}}\n"
				}
				const say = "a token of Mainstay's account"
				a.must("alice", of("NS", "default"), "create -n mainstay-system -f -")
				a.Cleanup(func() { a.must("admin", "", "-n mainstay-system delete secret NS") })
				for _, user := range []string{"alice", "admin"} {
					a.refusedFor(user, of("NS-2", "mainstay"), tries{
						"create -n mainstay-system -f -":              say,
						"apply --server-side -n mainstay-system -f -": say,
					})
					a.refusedFor(user, "", tries{
						"-n mainstay-system annotate --overwrite secret NS kubernetes.io/service-account.name=mainstay":                                     say,
						`-n mainstay-system patch secret NS --type=merge -p={"metadata":{"annotations":{"kubernetes.io/service-account.name":"mainstay"}}}`: say,
					})
				}
			},
		},
		{
			id:     "3c account of the namespace",
			threat: "some account of Mainstay's namespace, trusted for where it is",
			how:    "an edit and a deletion --as the default account of mainstay-system, and as a longer name than Mainstay's",
			want:   refused,
			try: func(a *attempt) {
				a.must("admin", "", "create clusterrolebinding NS --clusterrole=cluster-admin --serviceaccount=mainstay-system:default --user="+account+"-2")
				a.refused(tries{
					"--as=system:serviceaccount:mainstay-system:default set image deployment/web web=nginx:1.28": asked,
					"--as=system:serviceaccount:mainstay-system:default delete deployment web":                   removeThere,
					"--as=" + account + "-2 set image deployment/web web=nginx:1.28":                             asked,
				})
			},
		},
		{
			id:     "3c system components",
			threat: "the name of a controller of the control plane, whose writes are let through",
			how:    "an edit and a deletion --as the garbage collector, the deployment and the namespace controller, the API server",
			want:   refused,
			try: func(a *attempt) {
				for _, name := range []string{"generic-garbage-collector", "deployment-controller", "namespace-controller", "ttl-after-finished-controller"} {
					as := "--as=system:serviceaccount:kube-system:" + name + " --as-group=system:masters "
					a.refused(tries{
						as + "set image deployment/web web=nginx:1.28": asked,
						as + "delete deployment web":                   removeThere,
					})
				}
				a.refused(tries{
					"--as=system:apiserver --as-group=system:masters set image deployment/web web=nginx:1.28":               asked,
					"--as=system:kube-controller-manager --as-group=system:masters set image deployment/web web=nginx:1.28": asked,
				})
			},
		},
	}
}

// whoIsMainstay is what the API server knows Mainstay's own requests by.
func whoIsMainstay(a *attempt) authenticationv1.UserInfo {
	a.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(shared.State.Dir, "controller.kubeconfig"))
	world.Must(a.T, err)
	c, err := kubernetes.NewForConfig(config)
	world.Must(a.T, err)
	review, err := c.AuthenticationV1().SelfSubjectReviews().Create(a.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	world.Must(a.T, err)
	info := review.Status.UserInfo
	info.Extra = maps.Clone(info.Extra)
	return info
}

// image sets another image.
func (a *attempt) image(c kubernetes.Interface) (string, error) {
	_, err := c.AppsV1().Deployments(a.namespace).Patch(context.WithoutCancel(a.Context()), "web", types.StrategicMergePatchType,
		fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}}}`), metav1.PatchOptions{})
	return text(err), err
}
