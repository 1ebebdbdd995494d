// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"strings"
	"time"
)

// gadgets defines a kind with two served versions. STATUS is its subresources.
const gadgets = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.NS.example.org}
spec:
  group: NS.example.org
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget, listKind: GadgetList}
  versions:
  - name: v1
    served: true
    storage: true
    STATUS
    schema:
      openAPIV3Schema: &schema
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer}, more: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
          status: {type: object, properties: {ready: {type: boolean}}}
  - name: v2
    served: true
    storage: false
    STATUS
    schema: {openAPIV3Schema: *schema}
`

const gadget = `apiVersion: NS.example.org/v1
kind: Gadget
metadata: {name: one, namespace: NS}
spec: {size: 1}
`

const (
	withStatus    = "subresources: {status: {}}"
	withoutStatus = "subresources: {}"
)

func defined(status string) string {
	return strings.ReplaceAll(gadgets, "STATUS", status) + "---\n" + gadget
}

// kinds are about what the API server serves, and under which names.
func kinds() []*row {
	return []*row{
		{
			id:      "3c versions",
			threat:  "the same object by another version of its kind",
			how:     "an autoscaling/v2 autoscaler through v1; a custom resource through the version that git does not use",
			want:    refused,
			objects: bounds + "---\n" + defined(withStatus),
			try: func(a *attempt) {
				a.refused(tries{
					`patch horizontalpodautoscalers.v1.autoscaling web --type=merge -p={"spec":{"maxReplicas":99}}`: "spec.maxReplicas   git: 4   asked: 99",
					`patch horizontalpodautoscalers.v2.autoscaling web --type=merge -p={"spec":{"maxReplicas":99}}`: "spec.maxReplicas   git: 4   asked: 99",
					"delete horizontalpodautoscalers.v1.autoscaling web":                                            removeThere,
					`patch gadgets.v2.NS.example.org one --type=merge -p={"spec":{"size":9}}`:                       "spec.size   git: 1   asked: 9",
					`patch gadgets.v1.NS.example.org one --type=merge -p={"spec":{"size":9}}`:                       "spec.size   git: 1   asked: 9",
					"delete gadgets.v2.NS.example.org one":                                                          removeThere,
					"delete --raw /apis/NS.example.org/v2/namespaces/NS/gadgets":                                    removeThere,
				})
			},
		},
		{
			id:      "3c equivalent resources",
			threat:  "one object served under two resources",
			how:     "",
			want:    none,
			because: "the last pair, extensions and apps, is not served since Kubernetes 1.16; Events, which are, no one can declare held",
		},
		{
			id:      "3c custom status",
			threat:  "a custom resource whose status is a subresource: spec through /status",
			how:     "spec and status sent to /status; the status written there by its controller",
			want:    ignored,
			because: "the API server drops the spec there",
			objects: defined(withStatus),
			try: func(a *attempt) {
				a.works(`patch gadgets.v1.NS.example.org one --subresource=status --type=merge -p={"spec":{"size":9},"status":{"ready":true}}`)
			},
		},
		{
			id:      "3c custom status inline",
			threat:  "a custom resource whose status is part of it: spec together with status",
			how:     "status alone, which is free; spec, and both at once",
			want:    refused,
			objects: defined(withoutStatus),
			try: func(a *attempt) {
				a.refused(tries{
					`patch gadgets.v1.NS.example.org one --type=merge -p={"spec":{"size":9}}`:                         "spec.size   git: 1   asked: 9",
					`patch gadgets.v1.NS.example.org one --type=merge -p={"spec":{"size":9},"status":{"ready":true}}`: "spec.size   git: 1   asked: 9",
				})
			},
		},
		{
			id:      "3c custom status alone",
			threat:  "the same, with a status that its controller has to be able to write",
			how:     "status alone",
			want:    free,
			because: "a status is nobody's declaration",
			objects: defined(withoutStatus),
			try: func(a *attempt) {
				a.works(`patch gadgets.v1.NS.example.org one --type=merge -p={"status":{"ready":true}}`)
			},
		},
		{
			id:      "3c definition",
			threat:  "a kind deleted with all its objects, which no webhook is asked about; or served no more",
			how:     "delete of the definition by name, by collection, by raw request; its version not served, its schema and conversion changed",
			want:    refused,
			objects: defined(withStatus),
			try: func(a *attempt) {
				const crd = "customresourcedefinitions gadgets.NS.example.org"
				const raw = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
				a.refused(tries{
					"delete " + crd: "gadgets.NS.example.org",
					"delete --raw " + raw + "/gadgets.NS.example.org":                                                                                                                              "gadgets.NS.example.org",
					"delete --raw " + raw + "?fieldSelector=metadata.name=gadgets.NS.example.org":                                                                                                  "gadgets.NS.example.org",
					"patch " + crd + ` --type=json -p=[{"op":"replace","path":"/spec/versions/0/served","value":false}]`:                                                                           "gadgets.NS.example.org",
					"patch " + crd + ` --type=json -p=[{"op":"remove","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size"}]`:                                          "gadgets.NS.example.org",
					"patch " + crd + ` --type=merge -p={"spec":{"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":"https://127.0.0.1:1/"}}}}}`: "gadgets.NS.example.org",
				})
			},
		},
		{
			id:      "3c definition not declared",
			threat:  "the same, where someone else has defined the kind",
			how:     "delete of a definition that git does not declare, with an object that it does; its version not served",
			want:    refused,
			objects: gadget,
			outside: strings.ReplaceAll(gadgets, "STATUS", withStatus),
			try: func(a *attempt) {
				const crd = "customresourcedefinitions gadgets.NS.example.org"
				a.refused(tries{
					"delete " + crd: "would go with it",
					"delete --raw /apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldSelector=metadata.name=gadgets.NS.example.org": "would go with it",
					"patch " + crd + ` --type=json -p=[{"op":"replace","path":"/spec/versions/0/served","value":false}]`:                      "would go with it",
				})
			},
		},
		{
			id:      "3b kube-system",
			threat:  "an object in a namespace that webhooks leave alone",
			how:     "a ConfigMap in kube-system that git declares: edited and deleted",
			want:    refused,
			objects: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NS, namespace: kube-system}\ndata: {a: b}\n",
			try: func(a *attempt) {
				a.refused(tries{
					`-n kube-system patch configmap NS --type=merge -p={"data":{"a":"c"}}`: "data.a   git: b   asked: c",
					"-n kube-system delete configmap NS":                                   removeThere,
				})
			},
		},
		{
			id:      "3c unseen kinds",
			threat:  "kinds about which the API server asks no webhook: the six of admissionregistration.k8s.io",
			how:     "a ValidatingWebhookConfiguration that git declares: edited, and deleted",
			want:    repaired,
			within:  10 * time.Second,
			objects: "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: NS, annotations: {a: b}}\nwebhooks: []\n",
			try: func(a *attempt) {
				a.slipped()
				a.must("alice", "", "annotate validatingwebhookconfiguration NS a=c --overwrite")
				a.repaired()
				a.slipped()
				a.must("alice", "", "delete validatingwebhookconfiguration NS")
				a.repaired()
			},
		},
		{
			id:      "3b never delayed",
			threat:  "kinds on which the cluster's own life depends, and about which no webhook should be asked",
			how:     "a Lease and an EndpointSlice that git declares: edited and deleted",
			want:    repaired,
			within:  10 * time.Second,
			objects: "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: l, namespace: NS}\nspec: {holderIdentity: git}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: e, namespace: NS}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\n",
			try: func(a *attempt) {
				for _, line := range []string{
					`patch lease l --type=merge -p={"spec":{"holderIdentity":"alice"}}`,
					`patch endpointslice e --type=merge -p={"endpoints":[{"addresses":["10.6.6.6"]}]}`,
					"delete lease l",
					"delete endpointslice e",
				} {
					a.slipped()
					a.works(line)
					a.repaired()
				}
			},
		},
		{
			id:      "3b own namespace",
			threat:  "what Mainstay itself runs on, which has to be repairable by hand",
			how:     "a ConfigMap in Mainstay's namespace that git declares: edited",
			want:    repaired,
			within:  10 * time.Second,
			because: "there git is applied, and no webhook is asked",
			objects: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NS, namespace: mainstay-system}\ndata: {a: b}\n",
			try: func(a *attempt) {
				a.slipped()
				a.works(`-n mainstay-system patch configmap NS --type=merge -p={"data":{"a":"c"}}`)
				a.repaired()
			},
		},
		{
			id:      "3c schema",
			threat:  "the schema of a kind that others define changed, so that a declared value is dropped from what is stored",
			how:     "a property that git declares removed from the schema, alone, with its siblings and with its parent; an open part closed; the same as system:masters",
			want:    refused,
			because: "where git declares the definition, too, and says so itself, that counts",
			objects: strings.Replace(gadget, "{size: 1}", "{size: 1, more: {deep: {a: b}}}", 1),
			outside: strings.ReplaceAll(gadgets, "STATUS", withStatus),
			try: func(a *attempt) {
				const patch, schema = "patch customresourcedefinition gadgets.NS.example.org --type=json -p=", "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
				all := tries{
					patch + `[{"op":"remove","path":"` + schema + `/properties/size"}]`:                                      "spec.size, which the new schema does not have",
					patch + `[{"op":"remove","path":"` + schema + `/properties"}]`:                                           "which the new schema does not have",
					patch + `[{"op":"remove","path":"` + schema + `"}]`:                                                      "spec, which the new schema does not have",
					patch + `[{"op":"remove","path":"` + schema + `/properties/more/x-kubernetes-preserve-unknown-fields"}]`: "spec.more.deep, which the new schema does not have",
					patch + `[{"op":"remove","path":"` + schema + `/properties/size"}]` + " --dry-run=server":                "would lose what git says",
				}
				a.refused(all)
				a.refusedFor("admin", "", all)
			},
		},
		{
			id:      "3c conversion",
			threat:  "another conversion between the versions of a kind, whose webhook may make of an object what it likes",
			how:     "the conversion of a definition that git does not declare given to a webhook, and taken back",
			want:    free,
			because: "what a conversion makes of an object nobody can tell before: kubectl prints a warning, the ledger has it, and what comes of it is drift",
			objects: gadget,
			outside: strings.ReplaceAll(gadgets, "STATUS", withStatus),
			try: func(a *attempt) {
				for _, conversion := range []string{
					`{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":"https://127.0.0.1:1/"}}}`,
					`{"strategy":"None","webhook":null}`,
				} {
					a.result.tries++
					out := a.must("alice", "", `patch customresourcedefinition gadgets.NS.example.org --type=merge -p={"spec":{"conversion":`+conversion+`}}`)
					if !strings.Contains(out, "Warning: ") || !strings.Contains(out, "would be converted in another way") {
						a.Errorf("kubectl said %s", out)
					}
				}
			},
		},
		{
			id:      "3c aggregated kinds",
			threat:  "kinds that an aggregated API server serves, which asks no webhook",
			how:     "",
			want:    none,
			because: "no aggregated server runs here; such kinds are watched and reverted like the row before",
		},
	}
}
