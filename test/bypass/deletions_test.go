// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

const removeThere = "to delete it, remove it there"

// deletions are the ways to make an object go away.
func deletions() []*row {
	return []*row{
		{
			id:     "3c delete",
			threat: "the object deleted, to make it again as something else",
			how:    "delete in the foreground, in the background, orphaning, at once, with preconditions; replace --force",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					"delete deployment web":                                    removeThere,
					"delete deployment web --cascade=foreground":               removeThere,
					"delete deployment web --cascade=orphan":                   removeThere,
					"delete deployment web --grace-period=0 --force":           removeThere,
					"delete deployment web --dry-run=server":                   removeThere,
					"delete --raw /apis/apps/v1/namespaces/NS/deployments/web": removeThere,
				})
				a.refusedFor("alice", manifest, tries{"delete -f -": removeThere, "replace --force -f -": removeThere})
				deployments := a.as("alice", rest.ImpersonationConfig{}).AppsV1().Deployments(a.namespace)
				live, err := deployments.Get(a.Context(), "web", metav1.GetOptions{})
				if err != nil {
					a.Fatal(err)
				}
				orphan := metav1.DeletePropagationOrphan
				for what, options := range map[string]metav1.DeleteOptions{
					"with the uid as precondition":             {Preconditions: &metav1.Preconditions{UID: &live.UID}},
					"with the resourceVersion as precondition": {Preconditions: &metav1.Preconditions{ResourceVersion: &live.ResourceVersion}, PropagationPolicy: &orphan},
				} {
					if err := deployments.Delete(a.Context(), "web", options); err != nil {
						a.denied(what, err.Error(), err, removeThere)
						continue
					}
					a.denied(what, "", nil, removeThere)
				}
				gone := types.UID("12345678-1234-1234-1234-123456789012")
				if err := deployments.Delete(a.Context(), "web", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &gone}}); err == nil {
					a.Error("deleted under another uid")
				}
			},
		},
		{
			id:     "3c delete collection",
			threat: "a deletion whose requests name nothing",
			how:    "deletecollection of the namespace's Deployments, by label, by field; delete --all",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					"delete deployment --all":                                                              removeThere,
					"delete deployment -l mainstay.dev/sync":                                               removeThere,
					"delete --raw /apis/apps/v1/namespaces/NS/deployments":                                 removeThere,
					"delete --raw /apis/apps/v1/namespaces/NS/deployments?labelSelector=mainstay.dev/sync": removeThere,
					"delete --raw /apis/apps/v1/namespaces/NS/deployments?fieldSelector=metadata.name=web": removeThere,
				})
				err := a.as("alice", rest.ImpersonationConfig{}).AppsV1().Deployments("").DeleteCollection(context.WithoutCancel(a.Context()),
					metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}, metav1.ListOptions{FieldSelector: "metadata.namespace=" + a.namespace})
				if err == nil {
					a.Error("a collection of all namespaces could be deleted")
				}
			},
		},
		{
			id:     "3c namespace",
			threat: "the namespace deleted, and all that is held in it with it",
			how:    "delete of the namespace: by name, orphaning, as system:masters, by its collection",
			want:   refused,
			try: func(a *attempt) {
				a.refused(tries{
					"delete namespace NS":                                `namespaces "NS"`,
					"delete namespace NS --cascade=orphan":               `namespaces "NS"`,
					"delete --raw /api/v1/namespaces/NS":                 `namespaces "NS"`,
					"delete namespace -l kubernetes.io/metadata.name=NS": `namespaces "NS"`,
				})
				a.refusedFor("admin", "", tries{"delete namespace NS": `namespaces "NS"`})
			},
		},
		{
			id:      "3c namespace not declared",
			threat:  "a namespace that git does not declare itself, and that holds what git declares",
			how:     "delete of the namespace: by name, as system:masters",
			want:    refused,
			bare:    true,
			objects: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: declared, namespace: NS}\ndata: {a: b}\n",
			try: func(a *attempt) {
				a.refused(tries{"delete namespace NS": "would go with it"})
				a.refusedFor("admin", "", tries{"delete namespace NS --dry-run=server": "would go with it"})
			},
		},
		{
			id:      "3c namespace of Mainstay",
			threat:  "Mainstay deleted with its namespace and its records, or with its definitions",
			how:     "delete of its namespace by name, by label and by raw request, of each of its definitions and of all of them, as alice and as system:masters; a definition of its that serves nothing",
			want:    refused,
			because: "as long as a GitSync holds anything; the refusal says in which order to uninstall",
			try: func(a *attempt) {
				const order, let = "uninstall in this order: kubectl delete gitsyncs", "delete the GitSyncs first"
				for _, more := range []string{" --dry-run=server", ""} {
					for _, user := range []string{"alice", "admin"} {
						all := tries{
							"delete namespace mainstay-system" + more:                                order,
							"delete namespace -l kubernetes.io/metadata.name=mainstay-system" + more: order,
							"delete crd gitsyncs.mainstay.dev" + more:                                let,
							"delete crd changepolicies.mainstay.dev" + more:                          let,
							"delete crd breakglasses.mainstay.dev" + more:                            let,
							"delete crd inventories.mainstay.dev" + more:                             let,
							`patch crd gitsyncs.mainstay.dev --type=json -p=[{"op":"replace","path":"/spec/versions/0/served","value":false}]` + more: let,
						}
						if more == "" {
							all["delete --raw /api/v1/namespaces/mainstay-system"] = order
							all["delete --raw /apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldSelector=metadata.name=gitsyncs.mainstay.dev"] = let
						}
						a.refusedFor(user, "", all)
						if a.Failed() {
							return // before anything is lost
						}
					}
				}
			},
		},
	}
}
