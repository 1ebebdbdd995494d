# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package undeclared_test

import data.mainstay.testing
import data.undeclared

label := testing.added("metadata.labels.x", "1")

setting(value) := {"sync": {"undeclared": value}}

by_component(change) := object.union(change, {"person": false})

paths(i) := {p | some e in undeclared.exception with input as i; some p in e.paths}

test_people_may_not if {
	paths(testing.request({"changes": [label]})) == set()
}

test_components_may if {
	i := testing.request(object.union(testing.service_account("shop", "x"), {"changes": [by_component(label)]}))
	paths(i) == {"metadata.labels.x"}
}

test_what_drift_would_take_for_a_persons_is_recorded if {
	changes := [by_component(label), object.union(by_component(testing.added("metadata.labels.y", "1")), {"mistakable": true})]
	i := testing.request(object.union(testing.service_account("shop", "ci"), {"changes": changes}))
	paths(i) == {"metadata.labels.x", "metadata.labels.y"}
	recorded := {p | some e in undeclared.exception with input as i; not e.record == false; some p in e.paths}
	recorded == {"metadata.labels.y"}
}

test_a_mistakable_person_is_a_person if {
	paths(testing.request({"changes": [object.union(label, {"mistakable": true})]})) == set()
}

test_nobody_may_touch_declared_fields if {
	declared := object.union(by_component(label), {"declared": true})
	paths(testing.request(object.union(setting("Permit"), {"changes": [declared]}))) == set()
}

test_only_the_undeclared_fields_are_permitted if {
	changes := [by_component(label), object.union(testing.change("spec.replicas", 1, 2), {"person": false})]
	paths(testing.request({"changes": changes})) == {"metadata.labels.x"}
}

test_permit_lets_people if {
	paths(testing.request(object.union(setting("Permit"), {"changes": [label]}))) == {"metadata.labels.x"}
}

test_reject_lets_nobody if {
	paths(testing.request(object.union(setting("Reject"), {"changes": [by_component(label)]}))) == set()
}

test_drift_is_judged_by_each_manager if {
	changes := [
		object.union(label, {"manager": "kubectl-edit"}),
		object.union(by_component(testing.added("metadata.labels.y", "1")), {"manager": "operator"}),
	]
	paths(testing.drift({"changes": changes})) == {"metadata.labels.y"}
}

test_what_no_manager_owns_stays if {
	i := testing.drift(object.union(setting("Reject"), {"changes": [by_component(label)]}))
	paths(i) == {"metadata.labels.x"}
	j := testing.drift(object.union(setting("Reject"), {"changes": [object.union(by_component(label), {"manager": "m"})]}))
	paths(j) == set()
}

component := object.union(
	testing.service_account("kube-system", "x"),
	{"userInfo": {"extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]}}},
)

test_reject_lets_components if {
	i := testing.request(object.union_n([setting("Reject"), component, {"changes": [by_component(label), finalizer(false)]}]))
	paths(i) == {"metadata.labels.x", `metadata.finalizers[="x"]`}
	every e in undeclared.exception { not e.record == false } with input as i
}

test_reject_lets_no_service_account if {
	i := object.union_n([setting("Reject"), testing.service_account("kube-system", "x"), {"changes": [by_component(label)]}])
	paths(testing.request(i)) == set()
}

finalizer(person) := {
	"op": "add",
	"path": `metadata.finalizers[="x"]`,
	"segments": ["metadata", "finalizers", `[="x"]`],
	"to": "x",
	"declared": true,
	"person": person,
}

test_controllers_may_add_finalizers if {
	paths(testing.request({"changes": [finalizer(false)]})) == {`metadata.finalizers[="x"]`}
	paths(testing.request(object.union(setting("Permit"), {"changes": [finalizer(false)]}))) == {`metadata.finalizers[="x"]`}
	paths(testing.request(object.union(setting("Reject"), {"changes": [finalizer(false)]}))) == set()
}

test_people_may_add_no_finalizers if {
	paths(testing.request({"changes": [finalizer(true)]})) == set()
	paths(testing.request(object.union(setting("Permit"), {"changes": [finalizer(true)]}))) == set()
}

test_nobody_may_take_finalizers_of_git if {
	removed := object.union(finalizer(false), {"op": "remove"})
	paths(testing.request({"changes": [removed]})) == set()
}

test_no_owner_is_a_finalizer if {
	owner := {"path": "metadata.ownerReferences[uid=x]", "segments": ["metadata", "ownerReferences", "[uid=x]"]}
	paths(testing.request({"changes": [object.union(finalizer(false), owner)]})) == set()
}
