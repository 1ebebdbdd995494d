# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package hpa_test

import data.hpa
import data.mainstay.testing

autoscaler := testing.service_account("kube-system", "horizontal-pod-autoscaler")

scaled(to) := {"changes": [testing.change("spec.replicas", 2, to)]}

hpas(spec) := {"autoscaling": {"HorizontalPodAutoscaler": {"shop": {"web": {"spec": spec}}}}}

web := {
	"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
	"minReplicas": 2,
	"maxReplicas": 5,
}

permits(overrides, spec) if {
	count(hpa.exception) == 1 with input as testing.request(object.union(autoscaler, overrides))
		with data.cluster as hpas(spec)
}

test_within_bounds if {
	permits(scaled(2), web)
	permits(scaled(5), web)
}

test_out_of_bounds if {
	not permits(scaled(1), web)
	not permits(scaled(6), web)
}

test_min_replicas_defaults_to_one if {
	permits(scaled(1), object.remove(web, ["minReplicas"]))
	not permits(scaled(0), object.remove(web, ["minReplicas"]))
}

test_target_without_version_is_of_apps if {
	permits(scaled(3), object.union(object.remove(web, ["scaleTargetRef"]), {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}))
}

test_another_target if {
	not permits(scaled(3), object.union(web, {"scaleTargetRef": {"name": "db"}}))
	not permits(scaled(3), object.union(web, {"scaleTargetRef": {"kind": "StatefulSet"}}))
	not permits(scaled(3), object.union(web, {"scaleTargetRef": {"apiVersion": "example.com/v1"}}))
}

test_another_namespace if {
	not permits(object.union(scaled(3), {"namespace": "payments"}), web)
}

test_no_autoscaler if {
	count(hpa.exception) == 0 with input as testing.request(object.union(autoscaler, scaled(3)))
		with data.cluster as {}
}

test_a_person_may_not_scale if {
	count(hpa.exception) == 0 with input as testing.request(scaled(3)) with data.cluster as hpas(web)
}

test_a_namesake_may_not_scale if {
	other := testing.service_account("shop", "horizontal-pod-autoscaler")
	count(hpa.exception) == 0 with input as testing.request(object.union(other, scaled(3))) with data.cluster as hpas(web)
}

test_drift_within_bounds_stays if {
	count(hpa.exception) == 1 with input as testing.drift(scaled(3)) with data.cluster as hpas(web)
	count(hpa.exception) == 0 with input as testing.drift(scaled(6)) with data.cluster as hpas(web)
}

test_removing_replicas_is_no_number if {
	gone := {"changes": [{"op": "remove", "path": "spec.replicas", "segments": ["spec", "replicas"], "from": 2, "declared": true}]}
	not permits(gone, web)
}
