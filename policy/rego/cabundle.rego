# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package cabundle

import data.mainstay.lib

# METADATA
# title: cert-manager may inject the CA that a webhook or API is served with
exception contains {
	"reason": "the CA bundle is injected",
	"paths": [change.path | some change in input.changes; ca_bundle(change)],
	"record": false,
} if {
	input.kind.kind in {
		"CustomResourceDefinition",
		"APIService",
		"ValidatingWebhookConfiguration",
		"MutatingWebhookConfiguration",
	}
	input.kind.group in {
		"apiextensions.k8s.io",
		"apiregistration.k8s.io",
		"admissionregistration.k8s.io",
	}
	by_injector
	some change in input.changes
	ca_bundle(change)
}

ca_bundle(change) if change.segments[count(change.segments) - 1] == "caBundle"

by_injector if input.origin == "drift"

by_injector if {
	some namespace in ["cert-manager", "kube-system"]
	lib.by_service_account(namespace, "cert-manager-cainjector")
}
