# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Istio sets bundles of its webhooks, and marks what it has injected
# description: >-
#   The CA bundle and the failure policy of Istio's own webhook configurations, and
#   labels and annotations that its injector leaves on pods. The keys are bound, so
#   drift is judged as the request was.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["istio-system:istiod*"]
#     about: the service accounts of Istio's control plane
#   - name: images
#     shape: [text]
#     default: ["docker.io/istio/proxyv2", "gcr.io/istio-release/proxyv2", "registry.istio.io/release/proxyv2"]
#     about: the images of the sidecar, without a tag
#   knows:
#   - accounts: ["*:istiod*"]
#     managers: [pilot-discovery]
#     kinds: [ValidatingWebhookConfiguration.admissionregistration.k8s.io,
#       MutatingWebhookConfiguration.admissionregistration.k8s.io]
#     paths: ["**.caBundle", "**.failurePolicy"]
package library.istio

import data.mainstay.lib

# METADATA
# title: The bundle and the failure policy of Istio's own webhooks
# description: >-
#   istiod closes its validation once it is ready to serve it, so Fail is what it
#   sets and Ignore is not.
exception contains {
	"reason": "istiod serves these webhooks",
	"paths": [change.path | some change in input.changes; served(change)],
	"record": false,
} if {
	input.kind.group == "admissionregistration.k8s.io"
	input.kind.kind in {"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}
	regex.match(`^istio(d-default-validator|-validator|-sidecar-injector|-revision-tag)`, input.name)
	some change in input.changes
	served(change)
	by_istiod
}

# METADATA
# title: What the injector leaves on pods, in the name of whoever made the write
exception contains {
	"reason": "Istio marks what it injects into",
	"paths": [change.path | some change in input.changes; injected(change)],
	"record": false,
} if {
	input.kind.kind == "Pod"
	input.kind.group == ""
	in_mesh
	some change in input.changes
	injected(change)
}

served(change) if last(change, 0) == "caBundle"

# Only the validation is opened and closed, see istio/istio,
# pkg/webhooks/validation/controller/controller.go.
served(change) if {
	input.kind.kind == "ValidatingWebhookConfiguration"
	last(change, 0) == "failurePolicy"
	change.to == "Fail"
}

in_mesh if input.namespaceObject.labels["istio-injection"] == "enabled"

in_mesh if input.namespaceObject.labels["istio.io/rev"]

in_mesh if input.object.metadata.labels["sidecar.istio.io/inject"] == "true"

# The keys are those of istio/istio,
# manifests/charts/istio-control/istio-discovery/files/injection-template.yaml and
# pkg/kube/inject/webhook.go.
injected(change) if {
	not change.declared
	last(change, 1) == "labels"
	last(change, 0) in {
		"networking.istio.io/tunnel",
		"security.istio.io/tlsMode",
		"service.istio.io/canonical-name",
		"service.istio.io/canonical-revision",
		"topology.istio.io/network",
	}
}

injected(change) if {
	not change.declared
	last(change, 1) == "annotations"
	last(change, 0) in {
		"istio.io/rev",
		"kubectl.kubernetes.io/default-container",
		"kubectl.kubernetes.io/default-logs-container",
		"prometheus.io/path",
		"prometheus.io/port",
		"prometheus.io/scrape",
		"prometheus.istio.io/secure-port",
		"sidecar.istio.io/interceptionMode",
		"sidecar.istio.io/status",
		"traffic.sidecar.istio.io/excludeInboundPorts",
		"traffic.sidecar.istio.io/excludeOutboundIPRanges",
		"traffic.sidecar.istio.io/excludeOutboundPorts",
		"traffic.sidecar.istio.io/includeInboundPorts",
		"traffic.sidecar.istio.io/includeOutboundIPRanges",
		"traffic.sidecar.istio.io/includeOutboundPorts",
	}
}

# A sidecar of the mesh's own image.
injected(change) if {
	change.op == "add"
	last(change, 1) in {"containers", "initContainers"}
	last(change, 0) in {"[name=istio-proxy]", "[name=istio-init]", "[name=istio-validation]"}
	some image in images
	startswith(change.to.image, image)
	substring(change.to.image, count(image), 1) in {":", "@"}
	not change.to.command
}

last(change, back) := change.segments[(count(change.segments) - 1) - back]

by_istiod if input.origin == "drift"

by_istiod if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["istio-system:istiod*"])

images := object.get(settings, "images", [
	"docker.io/istio/proxyv2",
	"gcr.io/istio-release/proxyv2",
	"registry.istio.io/release/proxyv2",
])

default settings := {}

settings := data.parameters.istio
