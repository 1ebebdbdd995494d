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
