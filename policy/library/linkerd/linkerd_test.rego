# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.linkerd_test

import data.library.linkerd
import data.mainstay.testing

controller := testing.service_account("linkerd", "linkerd-proxy-injector")

hook(name, field) := {
	"kind": {"group": "admissionregistration.k8s.io", "version": "v1", "kind": "MutatingWebhookConfiguration"},
	"name": name,
	"namespace": "",
	"changes": [object.union(testing.change("x", "a", "b"), {"segments": ["webhooks", "[name=x]", "clientConfig", field]})],
}

test_its_own_webhooks if {
	mine := object.union(controller, hook("linkerd-proxy-injector-webhook-config", "caBundle"))
	count(linkerd.exception) == 1 with input as testing.request(mine)
	other := object.union(controller, hook("other", "caBundle"))
	count(linkerd.exception) == 0 with input as testing.request(other)
	url := object.union(controller, hook("linkerd-proxy-injector-webhook-config", "url"))
	count(linkerd.exception) == 0 with input as testing.request(url)
}

test_only_linkerd_may_ask if {
	i := hook("linkerd-proxy-injector-webhook-config", "caBundle")
	count(linkerd.exception) == 0 with input as testing.request(i)
	count(linkerd.exception) == 1 with input as testing.drift(i)
}

meshed := {"namespaceObject": {"annotations": {
	"linkerd.io/inject": "enabled",
	"config.linkerd.io/opaque-ports": "3306",
}}}

mark(kind, key, to) := {"changes": [object.union(testing.added("x", to), {"segments": ["metadata", kind, key]})]}

permitted(overrides) if count(linkerd.exception) == 1 with input as testing.request(object.union(meshed, overrides))

test_marks_in_the_mesh if {
	permitted(mark("annotations", "linkerd.io/proxy-version", "edge"))
	permitted(mark("labels", "linkerd.io/control-plane-ns", "linkerd"))
	not permitted(mark("labels", "linkerd.io/control-plane-ns", "evil"))
	not permitted(mark("labels", "app", "x"))
	count(linkerd.exception) == 0 with input as testing.request(mark("annotations", "linkerd.io/proxy-version", "edge"))
}

test_ports_are_those_of_the_namespace if {
	permitted(mark("annotations", "config.linkerd.io/opaque-ports", "3306"))
	not permitted(mark("annotations", "config.linkerd.io/opaque-ports", "80"))
}

test_drift_is_judged_by_its_value if {
	i := mark("annotations", "config.linkerd.io/opaque-ports", "3306")
	count(linkerd.exception) == 1 with input as testing.drift(object.union(meshed, i))
}
