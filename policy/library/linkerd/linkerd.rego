# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Linkerd marks what its injector has passed
# description: >-
#   Annotations and labels that Linkerd's webhooks leave on pods, templates and
#   Services, and the CA bundles of its own webhook configurations. The keys are
#   bound, so drift is judged as the request was.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["linkerd:linkerd-*", "linkerd-viz:*"]
#     about: the service accounts of Linkerd's control plane
#   knows:
#   - accounts: ["linkerd:*", "linkerd-viz:*"]
#     kinds: ["*"]
#     paths: ["**.caBundle"]
package library.linkerd

import data.mainstay.lib

# METADATA
# title: The bundle of Linkerd's own webhooks
exception contains {
	"reason": "the CA bundle is injected",
	"paths": [change.path | some change in input.changes; ca_bundle(change)],
	"record": false,
} if {
	input.kind.group in {"admissionregistration.k8s.io", "apiregistration.k8s.io"}
	regex.match(`(^linkerd-.*-webhook-config$|\.linkerd\.io$)`, input.name)
	some change in input.changes
	ca_bundle(change)
	by_linkerd
}

# METADATA
# title: What the injector leaves on pods, in the name of whoever made the write
exception contains {
	"reason": "Linkerd marks what it injects into",
	"paths": [change.path | some change in input.changes; injected(change)],
	"record": false,
} if {
	input.kind.kind in {"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Service"}
	input.namespaceObject.annotations["linkerd.io/inject"] in {"enabled", "ingress"}
	some change in input.changes
	injected(change)
}

# The keys are those of linkerd/linkerd2, pkg/k8s/labels.go.
injected(change) if {
	not change.declared
	last(change, 1) == "annotations"
	last(change, 0) in {
		"linkerd.io/created-by",
		"linkerd.io/proxy-version",
		"linkerd.io/trust-root-sha256",
		"viz.linkerd.io/tap-enabled",
	}
}

injected(change) if {
	not change.declared
	last(change, 1) == "labels"
	last(change, 0) in {"linkerd.io/control-plane-ns", "linkerd.io/workload-ns"}
	change.to in {"linkerd", input.namespace}
}

# The injector copies it from the namespace.
injected(change) if {
	not change.declared
	last(change, 1) == "annotations"
	last(change, 0) == "config.linkerd.io/opaque-ports"
	change.to == input.namespaceObject.annotations["config.linkerd.io/opaque-ports"]
}

ca_bundle(change) if last(change, 0) == "caBundle"

last(change, back) := change.segments[(count(change.segments) - 1) - back]

by_linkerd if input.origin == "drift"

by_linkerd if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["linkerd:linkerd-*", "linkerd-viz:*"])

default settings := {}

settings := data.parameters.linkerd
