# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package hpa

import data.mainstay.lib

# METADATA
# title: An autoscaler sets the replicas of what it targets
# description: >-
#   Within the bounds of the HorizontalPodAutoscaler, so that a forger of its
#   name gains nothing. A value within the bounds may stay, whoever set it while
#   nobody looked: the autoscaler corrects it.
exception contains {
	"reason": "replicas are the HorizontalPodAutoscaler's",
	"paths": ["spec.replicas"],
	"record": false,
} if {
	some change in input.changes
	change.path == "spec.replicas"
	is_number(change.to)
	some hpa in data.cluster.autoscaling.HorizontalPodAutoscaler[input.namespace]
	targets(hpa.spec.scaleTargetRef)
	change.to >= object.get(hpa.spec, "minReplicas", 1)
	change.to <= hpa.spec.maxReplicas
	by_autoscaler
}

targets(ref) if {
	ref.kind == input.kind.kind
	ref.name == input.name
	group(object.get(ref, "apiVersion", "apps/v1")) == input.kind.group
}

group(api_version) := split(api_version, "/")[0] if contains(api_version, "/")

group(api_version) := "" if not contains(api_version, "/")

by_autoscaler if input.origin == "drift"

by_autoscaler if lib.by_service_account("kube-system", "horizontal-pod-autoscaler")
