# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.keda_test

import data.library.keda
import data.mainstay.testing

operator := testing.service_account("keda", "keda-operator")

replicas(to) := {"changes": [testing.change("spec.replicas", 3, to)]}

# The target's version and kind are left to their defaults.
web := {
	"metadata": {"name": "web", "annotations": {}},
	"spec": {"scaleTargetRef": {"name": "web"}, "minReplicaCount": 2, "maxReplicaCount": 10},
}

with_spec(more) := object.union(web, {"spec": more})

with_annotations(annotations) := object.union(web, {"metadata": {"annotations": annotations}})

scaled(one) := {"keda.sh": {"ScaledObject": {"shop": {"web": one}}}}

permits(overrides, one) if {
	count(keda.exception) == 1 with input as testing.request(object.union(operator, overrides))
		with data.cluster as scaled(one)
}

test_within_the_bounds if {
	permits(replicas(2), web)
	permits(replicas(10), web)
}

test_out_of_bounds if {
	not permits(replicas(1), web)
	not permits(replicas(0), web)
	not permits(replicas(11), web)
}

test_the_bounds_have_kedas_defaults if {
	loose := {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": {"name": "web"}}}
	permits(replicas(0), loose)
	permits(replicas(100), loose)
	not permits(replicas(101), loose)
}

test_idle if {
	permits(replicas(0), with_spec({"idleReplicaCount": 0}))
	not permits(replicas(1), with_spec({"idleReplicaCount": 0}))
}

test_paused if {
	permits(replicas(1), with_annotations({"autoscaling.keda.sh/paused-replicas": "1"}))
	not permits(replicas(0), with_annotations({"autoscaling.keda.sh/paused-replicas": "1"}))
}

test_another_target if {
	not permits(replicas(4), with_spec({"scaleTargetRef": {"name": "db"}}))
	not permits(replicas(4), with_spec({"scaleTargetRef": {"kind": "StatefulSet"}}))
	not permits(replicas(4), with_spec({"scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1"}}))
	not permits(object.union(replicas(4), {"namespace": "payments"}), web)
}

test_only_keda_may_ask if {
	count(keda.exception) == 0 with input as testing.request(replicas(4)) with data.cluster as scaled(web)
	other := testing.service_account("shop", "keda-operator")
	count(keda.exception) == 0 with input as testing.request(object.union(other, replicas(4)))
		with data.cluster as scaled(web)
}

test_its_account_is_a_parameter if {
	other := testing.service_account("autoscaling", "keda-operator")
	count(keda.exception) == 1 with input as testing.request(object.union(other, replicas(4)))
		with data.cluster as scaled(web)
		with data.parameters as {"keda": {"accounts": ["autoscaling:keda-operator"]}}
}

test_drift_is_judged_by_its_value if {
	count(keda.exception) == 1 with input as testing.drift(replicas(4)) with data.cluster as scaled(web)
	count(keda.exception) == 0 with input as testing.drift(replicas(11)) with data.cluster as scaled(web)
	count(keda.exception) == 0 with input as testing.drift(replicas(4)) with data.cluster as {}
}

autoscaler(changes) := {
	"kind": {"group": "autoscaling", "version": "v2", "kind": "HorizontalPodAutoscaler"},
	"name": "web-hpa",
	"changes": changes,
}

taken := object.union(
	with_annotations({"scaledobject.keda.sh/transfer-hpa-ownership": "true"}),
	{"spec": {"advanced": {"horizontalPodAutoscalerConfig": {"name": "web-hpa"}}}},
)

metric(of) := {
	"type": "External",
	"external": {"metric": {"name": "s0", "selector": {"matchLabels": {"scaledobject.keda.sh/name": of}}}},
}

test_an_autoscaler_that_is_taken_over if {
	changes := [
		testing.change("spec.minReplicas", 1, 2),
		testing.change("spec.maxReplicas", 5, 10),
		testing.change("spec.metrics", [], [metric("web")]),
	]
	permits(autoscaler(changes), taken)
	some e in keda.exception with input as testing.request(object.union(operator, autoscaler(changes)))
		with data.cluster as scaled(taken)
	e.paths == ["spec.minReplicas", "spec.maxReplicas", "spec.metrics"]
}

test_only_to_the_scaled_objects_bounds if {
	not permits(autoscaler([testing.change("spec.maxReplicas", 5, 50)]), taken)
	not permits(autoscaler([testing.change("spec.minReplicas", 1, 0)]), taken)
	not permits(autoscaler([testing.change("spec.metrics", [], [metric("other")])]), taken)
	not permits(autoscaler([testing.change("spec.metrics", [], [{"type": "Resource"}])]), taken)
}

test_an_autoscaler_that_nobody_takes_over if {
	not permits(autoscaler([testing.change("spec.maxReplicas", 5, 10)]), web)
	not permits(object.union(autoscaler([testing.change("spec.maxReplicas", 5, 10)]), {"name": "other"}), taken)
}
