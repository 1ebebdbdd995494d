# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.on_call_test

import data.library.on_call
import data.mainstay.testing

bo := testing.user("bo", ["on-call"])

incident := {
	"metadata": {"creationTimestamp": "2026-11-23T11:00:00Z"},
	"data": {"id": "INC-7", "until": "2026-11-23T14:00:00Z"},
}

in_namespace(namespace, one) := {"core": {"ConfigMap": {namespace: {"incident": one}}}}

permitted(overrides, cluster) if {
	count(on_call.exception) == 1 with input as testing.request(object.union(bo, overrides)) with data.cluster as cluster
}

test_while_an_incident_is_open if {
	permitted({}, in_namespace("shop", incident))
	permitted({}, in_namespace("mainstay-system", incident))
	not permitted({}, in_namespace("payments", incident))
	not permitted({}, {})
}

test_it_ends_with_the_incident if {
	not permitted({"time": "2026-11-23T14:00:00Z"}, in_namespace("shop", incident))
	some e in on_call.exception with input as testing.request(bo) with data.cluster as in_namespace("shop", incident)
	e.until == "2026-11-23T14:00:00Z"
	e.reason == "incident INC-7"
}

test_an_incident_without_an_end_is_none if {
	not permitted({}, in_namespace("shop", object.remove(incident, ["data"])))
}

test_an_incident_is_not_longer_than_it_may_be if {
	long := object.union(incident, {"data": {"until": "2026-11-24T14:00:00Z"}})
	not permitted({}, in_namespace("shop", long))
	count(on_call.exception) == 1 with input as testing.request(bo)
		with data.cluster as in_namespace("shop", long)
		with data.parameters as {"on-call": {"longest": "48h"}}
}

test_only_the_group if {
	count(on_call.exception) == 0 with input as testing.request({}) with data.cluster as in_namespace("shop", incident)
	count(on_call.exception) == 0 with input as testing.drift({}) with data.cluster as in_namespace("shop", incident)
}

test_only_its_kinds if {
	not permitted({"kind": {"kind": "ClusterRole", "group": "rbac.authorization.k8s.io"}}, in_namespace("shop", incident))
	not permitted({"operation": "DELETE"}, in_namespace("shop", incident))
}
