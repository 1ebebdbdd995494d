# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.vpa_test

import data.library.vpa
import data.mainstay.testing

updater := testing.service_account("kube-system", "vpa-updater")

pod := {"kind": {"group": "", "version": "v1", "kind": "Pod"}}

requests(resource, to) := {"changes": [object.union(
	testing.change(sprintf("spec.containers[name=web].resources.requests.%s", [resource]), "100m", to),
	{"segments": ["spec", "containers", "[name=web]", "resources", "requests", resource]},
)]}

autoscaler := {
	"spec": {"targetRef": {"apiVersion": "v1", "kind": "Pod", "name": "web"}},
	"status": {"recommendation": {"containerRecommendations": [{
		"containerName": "web",
		"lowerBound": {"cpu": "50m", "memory": "64Mi"},
		"upperBound": {"cpu": "2", "memory": "1Gi"},
	}]}},
}

vpas(one) := {"autoscaling.k8s.io": {"VerticalPodAutoscaler": {"shop": {"web": one}}}}

permits(overrides, one) if {
	count(vpa.exception) == 1 with input as testing.request(object.union_n([pod, updater, overrides]))
		with data.cluster as vpas(one)
}

test_within_the_recommendation if {
	permits(requests("cpu", "50m"), autoscaler)
	permits(requests("cpu", "1500m"), autoscaler)
	permits(requests("memory", "1Gi"), autoscaler)
}

test_beyond_the_recommendation if {
	not permits(requests("cpu", "49m"), autoscaler)
	not permits(requests("cpu", "3"), autoscaler)
	not permits(requests("memory", "2Gi"), autoscaler)
	not permits(requests("nvidia", "1"), autoscaler)
}

test_another_container if {
	advice := [object.union(autoscaler.status.recommendation.containerRecommendations[0], {"containerName": "other"})]
	other := {"status": {"recommendation": {"containerRecommendations": advice}}}
	not permits(requests("cpu", "1"), object.union(autoscaler, other))
}

test_an_autoscaler_that_is_off if {
	not permits(requests("cpu", "1"), object.union(autoscaler, {"spec": {"updatePolicy": {"updateMode": "Off"}}}))
}

test_another_target if {
	not permits(requests("cpu", "1"), object.union(autoscaler, {"spec": {"targetRef": {"name": "db"}}}))
	not permits(object.union(requests("cpu", "1"), {"kind": {"kind": "Job", "group": "batch"}}), autoscaler)
}

test_only_the_autoscaler_may_ask if {
	i := object.union(pod, requests("cpu", "1"))
	count(vpa.exception) == 0 with input as testing.request(i) with data.cluster as vpas(autoscaler)
	other := testing.service_account("kube-system", "other")
	count(vpa.exception) == 0 with input as testing.request(object.union(other, i)) with data.cluster as vpas(autoscaler)
	count(vpa.exception) == 1 with input as testing.request(object.union(other, i))
		with data.cluster as vpas(autoscaler)
		with data.parameters as {"vpa": {"accounts": ["kube-system:other"]}}
}

test_drift_is_judged_by_its_value if {
	count(vpa.exception) == 1 with input as testing.drift(object.union(pod, requests("cpu", "1")))
		with data.cluster as vpas(autoscaler)
	count(vpa.exception) == 0 with input as testing.drift(object.union(pod, requests("cpu", "3")))
		with data.cluster as vpas(autoscaler)
}
