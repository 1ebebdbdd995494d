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

test_the_injector_is_never_closed if {
	mutating := {"kind": {
		"group": "admissionregistration.k8s.io",
		"version": "v1",
		"kind": "MutatingWebhookConfiguration",
	}}
	permitted(object.union(hook("istio-sidecar-injector", "caBundle", "QQ=="), mutating))
	not permitted(object.union(hook("istio-sidecar-injector", "failurePolicy", "Fail"), mutating))
}

test_only_istiod_may_ask if {
	i := hook("istio-validator-istio-system", "caBundle", "QQ==")
	count(istio.exception) == 0 with input as testing.request(i)
	count(istio.exception) == 1 with input as testing.drift(i)
}

meshed := {"namespaceObject": {"labels": {"istio-injection": "enabled"}}}

pod := {"kind": {"group": "", "version": "v1", "kind": "Pod"}}

mark(kind, key) := object.union(pod, {"changes": [object.union(
	testing.added("x", "1"),
	{"segments": ["metadata", kind, key]},
)]})

test_marks_in_the_mesh if {
	i := mark("annotations", "sidecar.istio.io/status")
	count(istio.exception) == 1 with input as testing.request(object.union(meshed, i))
	count(istio.exception) == 1 with input as testing.drift(object.union(meshed, i))
	count(istio.exception) == 0 with input as testing.request(i)
	count(istio.exception) == 0 with input as testing.request(object.union(meshed, mark("labels", "app")))
}

test_templates_are_left_alone if {
	deployment := {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}
	i := object.union_n([meshed, mark("annotations", "sidecar.istio.io/status"), deployment])
	count(istio.exception) == 0 with input as testing.request(i)
}

test_what_git_declares_is_no_mark if {
	key := "security.istio.io/tlsMode"
	declared := {"changes": [object.union(mark("labels", key).changes[0], {"declared": true})]}
	count(istio.exception) == 0 with input as testing.request(object.union_n([meshed, pod, declared]))
	count(istio.exception) == 1 with input as testing.request(object.union(meshed, mark("labels", key)))
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
