# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: KEDA scales what its ScaledObjects target
# description: >-
#   The replicas of a ScaledObject's target, within the bounds that the
#   ScaledObject gives; as a request by KEDA's account alone. A value within the
#   bounds may stay, whoever set it while nobody looked, since KEDA corrects it:
#   so drift that is found after a restart is judged as the request was.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["keda:keda-operator"]
#     about: the service accounts that KEDA runs under
#   knows:
#   - accounts: ["*:keda-operator"]
#     managers: [keda, keda-operator]
#     kinds: [Deployment.apps, StatefulSet.apps, "*"]
#     paths: [spec.replicas]
#   - accounts: ["*:keda-operator"]
#     managers: [keda, keda-operator]
#     kinds: [HorizontalPodAutoscaler.autoscaling]
#     paths: [spec]
package library.keda

import data.mainstay.lib

# METADATA
# title: KEDA sets replicas within the bounds of the ScaledObject
exception contains {
	"reason": "replicas are KEDA's, within the bounds of the ScaledObject",
	"paths": ["spec.replicas"],
	"record": false,
} if {
	some change in input.changes
	change.path == "spec.replicas"
	is_number(change.to)
	some scaled in data.cluster["keda.sh"].ScaledObject[input.namespace]
	targets(scaled.spec.scaleTargetRef)
	within(scaled, change.to)
	by_keda
}

# METADATA
# title: KEDA takes over an autoscaler that git declares
# description: >-
#   Only one that a ScaledObject names, with the annotation that asks for it, and
#   only to the ScaledObject's own bounds.
exception contains {
	"reason": "the ScaledObject has taken this autoscaler over",
	"paths": [change.path | some change in input.changes; taken_over(change, scaled)],
	"record": false,
} if {
	input.kind.kind == "HorizontalPodAutoscaler"
	input.kind.group == "autoscaling"
	some scaled in data.cluster["keda.sh"].ScaledObject[input.namespace]
	scaled.metadata.annotations["scaledobject.keda.sh/transfer-hpa-ownership"] == "true"
	scaled.spec.advanced.horizontalPodAutoscalerConfig.name == input.name
	some change in input.changes
	taken_over(change, scaled)
	by_keda
}

# KEDA asks the autoscaler for at least one: zero is its own business.
taken_over(change, scaled) if {
	change.path == "spec.minReplicas"
	change.to == max([1, object.get(scaled.spec, "minReplicaCount", 0)])
}

taken_over(change, scaled) if {
	change.path == "spec.maxReplicas"
	change.to == object.get(scaled.spec, "maxReplicaCount", 100)
}

# The metrics of a ScaledObject are external ones that name it.
taken_over(change, scaled) if {
	change.path == "spec.metrics"
	every metric in change.to {
		metric.type == "External"
		metric.external.metric.selector.matchLabels["scaledobject.keda.sh/name"] == scaled.metadata.name
	}
}

# The defaults are KEDA's, see ScaledObjectSpec in kedacore/keda,
# apis/keda/v1alpha1/scaledobject_types.go.
targets(ref) if {
	ref.name == input.name
	object.get(ref, "kind", "Deployment") == input.kind.kind
	split(object.get(ref, "apiVersion", "apps/v1"), "/")[0] == input.kind.group
}

within(scaled, replicas) if {
	replicas >= object.get(scaled.spec, "minReplicaCount", 0)
	replicas <= object.get(scaled.spec, "maxReplicaCount", 100)
}

within(scaled, replicas) if replicas == scaled.spec.idleReplicaCount

within(scaled, replicas) if {
	replicas == to_number(scaled.metadata.annotations["autoscaling.keda.sh/paused-replicas"])
}

by_keda if input.origin == "drift"

by_keda if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["keda:keda-operator"])

default settings := {}

settings := data.parameters.keda
