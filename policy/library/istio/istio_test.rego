# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.istio_test

import data.library.istio
import data.mainstay.testing

istiod := testing.service_account("istio-system", "istiod")

hook(name, field, to) := {
	"kind": {"group": "admissionregistration.k8s.io", "version": "v1", "kind": "ValidatingWebhookConfiguration"},
	"name": name,
	"namespace": "",
	"changes": [object.union(
		testing.change("webhooks[name=x].field", "a", to),
		{"segments": ["webhooks", "[name=x]", field]},
	)],
}

permitted(overrides) if {
	count(istio.exception) == 1 with input as testing.request(object.union(istiod, overrides))
}

test_its_own_webhooks if {
	permitted(hook("istio-validator-istio-system", "caBundle", "QQ=="))
	permitted(hook("istiod-default-validator", "failurePolicy", "Fail"))
	not permitted(hook("istiod-default-validator", "failurePolicy", "Ignore"))
	not permitted(hook("istiod-default-validator", "timeoutSeconds", 1))
	not permitted(hook("other", "caBundle", "QQ=="))
}

test_only_istiod_may_ask if {
	i := hook("istio-validator-istio-system", "caBundle", "QQ==")
	count(istio.exception) == 0 with input as testing.request(i)
	count(istio.exception) == 1 with input as testing.drift(i)
}

meshed := {"namespaceObject": {"labels": {"istio-injection": "enabled"}}}

mark(kind, key) := {"changes": [object.union(
	testing.added("x", "1"),
	{"segments": ["spec", "template", "metadata", kind, key]},
)]}

test_marks_in_the_mesh if {
	i := mark("annotations", "sidecar.istio.io/status")
	count(istio.exception) == 1 with input as testing.request(object.union(meshed, i))
	count(istio.exception) == 1 with input as testing.drift(object.union(meshed, i))
	count(istio.exception) == 0 with input as testing.request(i)
	count(istio.exception) == 0 with input as testing.request(object.union(meshed, mark("labels", "app")))
}

test_what_git_declares_is_no_mark if {
	declared := {"changes": [object.union(mark("labels", "istio.io/rev").changes[0], {"declared": true})]}
	count(istio.exception) == 0 with input as testing.request(object.union(meshed, declared))
}

sidecar(kind, container) := {
	"kind": {"group": "", "version": "v1", "kind": kind},
	"changes": [object.union(
		testing.added("spec.containers[name=istio-proxy]", container),
		{"segments": ["spec", "containers", "[name=istio-proxy]"]},
	)],
}

test_a_sidecar if {
	proxy := {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.29.0"}
	count(istio.exception) == 1 with input as testing.request(object.union(meshed, sidecar("Pod", proxy)))
	count(istio.exception) == 0 with input as testing.request(object.union(meshed, sidecar("Deployment", proxy)))
	evil := object.union(proxy, {"image": "docker.io/istio/proxyv2-evil:1"})
	count(istio.exception) == 0 with input as testing.request(object.union(meshed, sidecar("Pod", evil)))
	shell := object.union(proxy, {"command": ["sh"]})
	count(istio.exception) == 0 with input as testing.request(object.union(meshed, sidecar("Pod", shell)))
}
