# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package cabundle_test

import data.cabundle
import data.mainstay.testing

crd := {"kind": {"group": "apiextensions.k8s.io", "version": "v1", "kind": "CustomResourceDefinition"}, "namespace": ""}

injected := {"changes": [testing.change("spec.conversion.webhook.clientConfig.caBundle", "", "QQ==")]}

injector := testing.service_account("cert-manager", "cert-manager-cainjector")

test_the_injector_may if {
	some e in cabundle.exception with input as testing.request(object.union_n([crd, injected, injector]))
	e.paths == ["spec.conversion.webhook.clientConfig.caBundle"]
}

test_others_may_not if {
	count(cabundle.exception) == 0 with input as testing.request(object.union(crd, injected))
	other := testing.service_account("shop", "cert-manager-cainjector")
	count(cabundle.exception) == 0 with input as testing.request(object.union_n([crd, injected, other]))
}

test_drift_stays if {
	count(cabundle.exception) == 1 with input as testing.drift(object.union(crd, injected))
}

test_other_kinds_may_not if {
	count(cabundle.exception) == 0 with input as testing.request(object.union(injected, injector))
}

test_other_fields_may_not if {
	url := {"changes": [testing.change("spec.conversion.webhook.clientConfig.url", "a", "b")]}
	count(cabundle.exception) == 0 with input as testing.request(object.union_n([crd, url, injector]))
}
