# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Argo Rollouts moves traffic and replicas of its Rollouts
# description: >-
#   What a Rollout names: the hash in the selectors of its Services, the weights of
#   its routes, the replicas of a Deployment that it has taken over. Each value is
#   bound by the Rollout, so drift is judged as the request was.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["argo-rollouts:argo-rollouts"]
#     about: the service accounts that Argo Rollouts runs under
#   knows:
#   - accounts: ["*:argo-rollouts"]
#     managers: [rollouts-controller]
#     kinds: [Service, VirtualService.networking.istio.io, DestinationRule.networking.istio.io,
#       Ingress.networking.k8s.io]
#     paths: [spec, metadata.annotations]
#   - accounts: ["*:argo-rollouts"]
#     managers: [rollouts-controller]
#     kinds: [Deployment.apps]
#     paths: [spec.replicas]
#   - accounts: ["*:argo-rollouts"]
#     managers: [rollouts-controller]
#     kinds: [Rollout.argoproj.io]
#     paths: [metadata.annotations]
package library.argo_rollouts

import data.mainstay.lib

# METADATA
# title: The Services of a Rollout select one of its versions
exception contains {
	"reason": "the Rollout chooses which of its versions this Service selects",
	"paths": [hash_path],
	"record": false,
} if {
	input.kind.kind == "Service"
	input.kind.group == ""
	some rollout in rollouts
	input.name in services(rollout)
	some change in input.changes
	change.path == hash_path
	change.op in {"add", "replace"}
	change.to in versions(rollout)
	by_rollouts
}

# METADATA
# title: A Rollout shifts weights between its Services
exception contains {
	"reason": "weights are the Rollout's",
	"paths": [change.path],
	"record": false,
} if {
	input.kind.kind == "VirtualService"
	input.kind.group == "networking.istio.io"
	some rollout in rollouts
	routed(rollout)
	some change in input.changes
	change.path in {"spec.http", "spec.tls", "spec.tcp"}
	only_weights(change.from, change.to, managed(rollout))
	by_rollouts
}

# METADATA
# title: A Rollout sets the hashes of its subsets
exception contains {
	"reason": "the Rollout chooses which of its versions a subset is",
	"paths": ["spec.subsets"],
	"record": false,
} if {
	input.kind.kind == "DestinationRule"
	input.kind.group == "networking.istio.io"
	some rollout in rollouts
	subdivided(rollout)
	some change in input.changes
	change.path == "spec.subsets"
	without_hash(change.from) == without_hash(change.to)
	hashes := {subset.labels[label] | some subset in change.to; subset.labels[label]}
	every hash in hashes { hash in versions(rollout) }
	by_rollouts
}

# METADATA
# title: A Rollout shifts the weights of an Ingress
exception contains {
	"reason": "weights are the Rollout's",
	"paths": [change.path | some change in input.changes; ingress_weight(change, rollout)],
	"record": false,
} if {
	input.kind.kind == "Ingress"
	some rollout in rollouts
	some change in input.changes
	ingress_weight(change, rollout)
	by_rollouts
}

# METADATA
# title: What belongs to a Rollout is marked
exception contains {
	"reason": "Argo Rollouts marks what belongs to a Rollout",
	"paths": [change.path | some change in input.changes; mark(change, rollout)],
	"record": false,
} if {
	input.kind.kind in {"Service", "DestinationRule", "Ingress"}
	some rollout in rollouts
	some change in input.changes
	mark(change, rollout)
	by_rollouts
}

# METADATA
# title: The revisions of a Rollout are counted
exception contains {
	"reason": "Argo Rollouts counts the revisions of a Rollout",
	"paths": [change.path | some change in input.changes; counted(change)],
	"record": false,
} if {
	input.kind.kind == "Rollout"
	input.kind.group == "argoproj.io"
	some change in input.changes
	counted(change)
	by_rollouts
}

# METADATA
# title: A Rollout scales the Deployment down that it has taken over
exception contains {
	"reason": "the Rollout runs the pods of this Deployment",
	"paths": ["spec.replicas"],
	"record": false,
} if {
	input.kind.kind == "Deployment"
	input.kind.group == "apps"
	some rollout in rollouts
	rollout.spec.workloadRef.kind == "Deployment"
	rollout.spec.workloadRef.name == input.name
	some change in input.changes
	change.path == "spec.replicas"
	change.to >= 0
	change.to <= object.get(rollout.spec, "replicas", 1)
	by_rollouts
}

# The key that the controller puts into selectors, DefaultRolloutUniqueLabelKey
# in argoproj/argo-rollouts, pkg/apis/rollouts/v1alpha1/types.go.
label := "rollouts-pod-template-hash"

hash_path := "spec.selector.rollouts-pod-template-hash"

rollouts := [rollout | some rollout in data.cluster["argoproj.io"].Rollout[input.namespace]]

services(rollout) := {name |
	some path in [
		["blueGreen", "activeService"],
		["blueGreen", "previewService"],
		["canary", "stableService"],
		["canary", "canaryService"],
		["canary", "pingPong", "pingService"],
		["canary", "pingPong", "pongService"],
	]
	name := object.get(rollout.spec.strategy, path, "")
	name != ""
}

versions(rollout) := {hash |
	some path in [
		["currentPodHash"],
		["stableRS"],
		["blueGreen", "activeSelector"],
		["blueGreen", "previewSelector"],
	]
	hash := object.get(rollout.status, path, "")
	hash != ""
}

routed(rollout) if rollout.spec.strategy.canary.trafficRouting.istio.virtualService.name == input.name

routed(rollout) if {
	some service in rollout.spec.strategy.canary.trafficRouting.istio.virtualServices
	service.name == input.name
}

subdivided(rollout) if rollout.spec.strategy.canary.trafficRouting.istio.destinationRule.name == input.name

# Routes by header and mirrors are added under names that the Rollout lists.
managed(rollout) := {route.name | some route in rollout.spec.strategy.canary.trafficRouting.managedRoutes}

# The same routes with other weights, which sum up to a hundred.
only_weights(from, to, extra) if {
	without_weights(from, extra) == without_weights(to, extra)
	every entry in to {
		sums_up(entry, extra)
	}
}

without_weights(list, extra) := [rest |
	some entry in list
	not object.get(entry, "name", "") in extra
	rest := object.union(
		object.remove(entry, ["route"]),
		{"route": [object.remove(target, ["weight"]) | some target in entry.route]},
	)
]

sums_up(entry, extra) if object.get(entry, "name", "") in extra

sums_up(entry, _) if {
	weights := [object.get(target, "weight", 100) | some target in entry.route]
	every weight in weights { weight >= 0 }
	sum(weights) == 100
}

without_hash(subsets) := [object.union(
	object.remove(subset, ["labels"]),
	{"labels": object.remove(object.get(subset, "labels", {}), [label])},
) |
	some subset in subsets
]

ingress_weight(change, rollout) if {
	balanced(rollout)
	alb := rollout.spec.strategy.canary.trafficRouting.alb
	prefix := object.get(alb, "annotationPrefix", "alb.ingress.kubernetes.io")
	forwards(change.to, services(rollout))
	some service in (services(rollout) | {object.get(alb, "rootService", "")})
	change.path == sprintf("metadata.annotations[\"%s/actions.%s\"]", [prefix, service])
}

# nginx: the controller's own Ingress, where git declares it.
ingress_weight(change, rollout) if {
	nginx := rollout.spec.strategy.canary.trafficRouting.nginx
	prefix := object.get(nginx, "annotationPrefix", "nginx.ingress.kubernetes.io")
	change.path == sprintf("metadata.annotations[\"%s/canary-weight\"]", [prefix])
	to_number(change.to) in numbers.range(0, 100)
	some stable in array.concat([object.get(nginx, "stableIngress", "")], object.get(nginx, "stableIngresses", []))
	input.name == sprintf("%s-%s-canary", [rollout.metadata.name, stable])
}

balanced(rollout) if rollout.spec.strategy.canary.trafficRouting.alb.ingress == input.name

balanced(rollout) if input.name in rollout.spec.strategy.canary.trafficRouting.alb.ingresses

# ManagedByRolloutsKey in pkg/apis/rollouts/v1alpha1/types.go.
mark(change, rollout) if {
	owned(rollout)
	annotation(change) == "argo-rollouts.argoproj.io/managed-by-rollouts"
	change.to == rollout.metadata.name
}

# The controller's list of the annotations that it writes, in utils/ingress/ingress.go.
mark(change, rollout) if {
	input.kind.kind == "Ingress"
	balanced(rollout)
	annotation(change) in {
		"rollouts.argoproj.io/managed-alb-actions",
		"rollouts.argoproj.io/managed-alb-annotations",
	}
}

owned(rollout) if {
	input.kind.kind == "Service"
	input.name in services(rollout)
}

owned(rollout) if {
	input.kind.kind == "DestinationRule"
	subdivided(rollout)
}

# Both are numbers that the controller counts, see utils/annotations/annotations.go.
counted(change) if {
	annotation(change) in {"rollout.argoproj.io/revision", "rollout.argoproj.io/workload-generation"}
	regex.match(`^[0-9]+$`, change.to)
}

# The key of an annotation that git does not set.
annotation(change) := change.segments[2] if {
	not change.declared
	array.slice(change.segments, 0, 2) == ["metadata", "annotations"]
}

# An action that forwards to the Rollout's own Services, and does nothing else.
forwards(text, names) if {
	action := json.unmarshal(text)
	lower(action.Type) == "forward"
	groups := action.ForwardConfig.TargetGroups
	count(groups) > 0
	every group in groups { group.ServiceName in names }
	sum([group.Weight | some group in groups]) == 100
}

by_rollouts if input.origin == "drift"

by_rollouts if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["argo-rollouts:argo-rollouts"])

default settings := {}

settings := data.parameters["argo-rollouts"]
