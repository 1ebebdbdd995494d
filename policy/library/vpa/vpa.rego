# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: The VerticalPodAutoscaler sets requests within its recommendation
# description: >-
#   Requests of the containers of a declared Pod, between the lower and the upper
#   bound that the autoscaler's status recommends at that moment; limits may only
#   follow. The value is bound, so drift is judged as the request was.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["*:vpa-updater", "*:vpa-admission-controller"]
#     about: the service accounts of the autoscaler, and of whatever else writes its recommendations
#   knows:
#   - accounts: ["*:vpa-updater", "*:vpa-admission-controller", "*:vpa-recommender"]
#     managers: [vpa-updater, updater, admission-controller]
#     kinds: [Pod, Deployment.apps, StatefulSet.apps, DaemonSet.apps, CronJob.batch]
#     paths: ["**.resources"]
package library.vpa

import data.mainstay.lib

# METADATA
# title: Requests follow the autoscaler's recommendation
exception contains {
	"reason": "requests are the VerticalPodAutoscaler's, within its recommendation",
	"paths": [change.path | some change in input.changes; recommended(change)],
	"record": false,
} if {
	some change in input.changes
	recommended(change)
	by_autoscaler
}

# The last steps are containers, [name=web], resources, requests, cpu.
recommended(change) if {
	count(change.segments) >= 5
	size := count(change.segments)
	array.slice(change.segments, size - 3, size - 1) == ["resources", "requests"]
	change.segments[size - 5] in {"containers", "initContainers"}
	resource := change.segments[size - 1]
	resource in {"cpu", "memory"}
	asked := quantity(resource, change.to)
	some advice in advised
	change.segments[size - 4] == sprintf("[name=%s]", [advice.containerName])
	asked >= quantity(resource, advice.lowerBound[resource])
	asked <= quantity(resource, advice.upperBound[resource])
}

# What the autoscalers of this object recommend, those that may act.
advised contains advice if {
	some vpa in data.cluster["autoscaling.k8s.io"].VerticalPodAutoscaler[input.namespace]
	object.get(object.get(vpa.spec, "updatePolicy", {}), "updateMode", "Auto") != "Off"
	targets(vpa.spec.targetRef)
	some advice in vpa.status.recommendation.containerRecommendations
}

targets(ref) if {
	ref.kind == input.kind.kind
	ref.name == input.name
	group(ref.apiVersion) == input.kind.group
}

group(api_version) := split(api_version, "/")[0] if contains(api_version, "/")

group(api_version) := "" if not contains(api_version, "/")

quantity("cpu", text) := units.parse(text)

quantity("memory", text) := units.parse_bytes(text)

by_autoscaler if input.origin == "drift"

by_autoscaler if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["*:vpa-updater", "*:vpa-admission-controller"])

default settings := {}

settings := data.parameters.vpa
