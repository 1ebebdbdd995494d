# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package aggregation_test

import data.aggregation
import data.mainstay.testing

role := {"kind": {"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRole"}, "namespace": ""}

aggregated := {"oldObject": {"aggregationRule": {"clusterRoleSelectors": []}}}

rules := {"changes": [testing.change("rules", [], [{"verbs": ["get"]}])]}

controller := testing.service_account("kube-system", "clusterrole-aggregation-controller")

test_the_controller_may if {
	count(aggregation.exception) == 1 with input as testing.request(object.union_n([role, aggregated, rules, controller]))
}

test_people_may_not if {
	count(aggregation.exception) == 0 with input as testing.request(object.union_n([role, aggregated, rules]))
}

test_drift_stays if {
	count(aggregation.exception) == 1 with input as testing.drift(object.union_n([role, aggregated, rules]))
}

test_only_aggregated_roles if {
	count(aggregation.exception) == 0 with input as testing.request(object.union_n([role, rules, controller]))
	added := {"object": {"aggregationRule": {"clusterRoleSelectors": []}}}
	count(aggregation.exception) == 0 with input as testing.request(object.union_n([role, added, rules, controller]))
}

test_only_the_rules if {
	labels := {"changes": [testing.change("metadata.labels.a", "1", "2")]}
	count(aggregation.exception) == 0 with input as testing.request(object.union_n([role, aggregated, labels, controller]))
}
