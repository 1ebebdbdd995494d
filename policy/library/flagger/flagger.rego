# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Flagger moves traffic and replicas of its Canaries
# description: >-
#   What a Canary names: its target sleeps and wakes, its Services select the
#   primary or the canary, its routes change weights. Each value is bound by the
#   Canary, so drift is judged as the request was.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["*:flagger"]
#     about: the service accounts that Flagger runs under
#   - name: labels
#     shape: [text]
#     default: ["app", "name", "app.kubernetes.io/name"]
#     about: the labels that may tell the versions apart, Flagger's -selector-labels
#   - name: prefix
#     shape: text
#     default: nginx.ingress.kubernetes.io
#     about: of nginx's annotations, Flagger's -ingress-annotations-prefix
#   knows:
#   - accounts: ["*:flagger"]
#     managers: [flagger]
#     kinds: [Deployment.apps]
#     paths: [spec.replicas]
#   - accounts: ["*:flagger"]
#     managers: [flagger]
#     kinds: [DaemonSet.apps, ScaledObject.keda.sh]
#     paths: [spec.template.spec.nodeSelector, metadata.annotations]
#   - accounts: ["*:flagger"]
#     managers: [flagger]
#     kinds: [Service, VirtualService.networking.istio.io, Ingress.networking.k8s.io,
#       HTTPRoute.gateway.networking.k8s.io]
#     paths: [spec, metadata.annotations]
package library.flagger

import data.mainstay.lib

# METADATA
# title: A Canary puts its target to sleep and wakes it
exception contains {
	"reason": "the Canary runs the pods of this Deployment",
	"paths": ["spec.replicas"],
	"record": false,
} if {
	input.kind.kind == "Deployment"
	input.kind.group == "apps"
	some canary in canaries
	canary.spec.targetRef.kind == "Deployment"
	canary.spec.targetRef.name == input.name
	some change in input.changes
	change.path == "spec.replicas"
	change.to >= 0
	change.to <= most(canary)
	by_flagger
}

# METADATA
# title: A DaemonSet sleeps by a selector that no node has
exception contains {
	"reason": "the Canary runs the pods of this DaemonSet",
	"paths": [change.path | some change in input.changes; sleeps(change)],
	"record": false,
} if {
	input.kind.kind == "DaemonSet"
	input.kind.group == "apps"
	some canary in canaries
	canary.spec.targetRef.kind == "DaemonSet"
	canary.spec.targetRef.name == input.name
	some change in input.changes
	sleeps(change)
	by_flagger
}

# METADATA
# title: The ScaledObject of a Canary pauses with its target
exception contains {
	"reason": "the Canary pauses this ScaledObject",
	"paths": [change.path | some change in input.changes; pauses(change)],
	"record": false,
} if {
	input.kind.kind == "ScaledObject"
	input.kind.group == "keda.sh"
	some canary in canaries
	canary.spec.autoscalerRef.kind == "ScaledObject"
	canary.spec.autoscalerRef.name == input.name
	some change in input.changes
	pauses(change)
	by_flagger
}

# METADATA
# title: The Services of a Canary select its primary or its target
exception contains {
	"reason": "the Canary chooses what this Service selects",
	"paths": [change.path | some change in input.changes; selects(change)],
	"record": false,
} if {
	input.kind.kind == "Service"
	input.kind.group == ""
	some canary in canaries
	input.name in services(canary)
	some change in input.changes
	selects(change)
	by_flagger
}

# METADATA
# title: A Canary shifts weights between its Services
exception contains {
	"reason": "weights are the Canary's",
	"paths": [change.path],
	"record": false,
} if {
	routes := {"VirtualService": {"spec.http", "spec.tcp"}, "HTTPRoute": {"spec.rules"}}
	some canary in canaries
	input.name == apex(canary)
	some change in input.changes
	change.path in routes[input.kind.kind]
	only_weights(change.from, change.to)
	by_flagger
}

# METADATA
# title: A Canary shifts the weight of its nginx Ingress
exception contains {
	"reason": "weights are the Canary's",
	"paths": [weight_path],
	"record": false,
} if {
	input.kind.kind == "Ingress"
	some canary in canaries
	input.name == sprintf("%s-canary", [canary.spec.ingressRef.name])
	some change in input.changes
	change.path == weight_path
	to_number(change.to) in numbers.range(0, 100)
	by_flagger
}

canaries := [canary | some canary in data.cluster["flagger.app"].Canary[input.namespace]]

# What an Ingress of nginx is told; Flagger can be started with another prefix.
weight_path := sprintf("metadata.annotations[\"%s/canary-weight\"]", [prefix])

# As many as the autoscaler of the target or of its primary may ask for; without
# one it sleeps, and wakes to what git says.
most(canary) := max([n |
	some ns in [[0], scaled_by_hpa(canary), scaled_by_keda(canary)]
	some n in ns
])

scaled_by_hpa(canary) := [hpa.spec.maxReplicas |
	some name in [canary.spec.autoscalerRef.name, sprintf("%s-primary", [canary.spec.autoscalerRef.name])]
	hpa := data.cluster.autoscaling.HorizontalPodAutoscaler[input.namespace][name]
]

# It wakes to the least that the ScaledObject asks for, see ScaleFromZero in
# fluxcd/flagger, pkg/canary/deployment_controller.go.
scaled_by_keda(canary) := [max([1, object.get(scaled.spec, "minReplicaCount", 1)]) |
	canary.spec.autoscalerRef.kind == "ScaledObject"
	scaled := data.cluster["keda.sh"].ScaledObject[input.namespace][canary.spec.autoscalerRef.name]
]

# See daemonSetScaleDownNodeSelector in pkg/canary/daemonset_controller.go.
sleeps(change) if {
	not change.declared
	change.segments == ["spec", "template", "spec", "nodeSelector", "flagger.app/scale-to-zero"]
	change.to == "true"
}

# See PauseTargetScaler in pkg/canary/scaled_object_reconciler.go.
pauses(change) if {
	not change.declared
	change.segments == ["metadata", "annotations", "autoscaling.keda.sh/paused-replicas"]
	change.to == "0"
}

# The names of Services, see fluxcd/flagger, pkg/apis/flagger/v1beta1/canary.go.
apex(canary) := object.get(object.get(canary.spec, "service", {}), "name", canary.spec.targetRef.name)

services(canary) := {name |
	some suffix in ["", "-primary", "-canary"]
	name := concat("", [apex(canary), suffix])
}

# The value that the target's own label has, and the same with -primary: it need
# not be the target's name, see getSelectorLabel in
# pkg/canary/deployment_controller.go.
selects(change) if {
	array.slice(change.segments, 0, 2) == ["spec", "selector"]
	change.segments[2] in labels
	count(change.segments) == 3
	change.op == "replace"
	trim_suffix(change.from, "-primary") == trim_suffix(change.to, "-primary")
}

only_weights(from, to) if {
	without_weights(from) == without_weights(to)
	every entry in to {
		weights := [object.get(target, "weight", 100) | some target in targets(entry)]
		every weight in weights { weight >= 0 }
		sum(weights) == 100
	}
}

without_weights(list) := [rest |
	some entry in list
	rest := object.union(
		object.remove(entry, ["route", "backendRefs"]),
		{"targets": [object.remove(target, ["weight"]) | some target in targets(entry)]},
	)
]

targets(entry) := array.concat(object.get(entry, "route", []), object.get(entry, "backendRefs", []))

by_flagger if input.origin == "drift"

by_flagger if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["*:flagger"])

labels := object.get(settings, "labels", ["app", "name", "app.kubernetes.io/name"])

prefix := object.get(settings, "prefix", "nginx.ingress.kubernetes.io")

default settings := {}

settings := data.parameters.flagger
