# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.change_freeze_test

import data.library.change_freeze
import data.mainstay.testing

freeze := {"from": "2026-11-20T18:00:00+01:00", "until": "2026-12-01T06:00:00Z", "reason": "Black Friday"}

sync := {"origin": "sync"}

denied(i, one) if {
	count(change_freeze.deny) == 1 with input as i with data.parameters as {"change-freeze": {"freezes": [one]}}
}

test_people_and_git_are_stopped if {
	denied(testing.request({}), freeze)
	denied(testing.request(sync), freeze)
	denied(testing.deletion({}), freeze)
}

test_it_says_until_when if {
	some d in change_freeze.deny with input as testing.request({})
		with data.parameters as {"change-freeze": {"freezes": [freeze]}}
	d.reason == "change freeze: Black Friday"
	d.until == "2026-12-01T06:00:00Z"
}

test_controllers_go_on if {
	robot := testing.request(testing.service_account("kube-system", "horizontal-pod-autoscaler"))
	not denied(robot, freeze)
	not denied(testing.drift({}), freeze)
	denied(robot, object.union(freeze, {"accounts": ["kube-system:*"]}))
}

test_before_and_after if {
	not denied(testing.request({"time": "2026-11-20T16:59:59Z"}), freeze)
	denied(testing.request({"time": "2026-11-20T17:00:00Z"}), freeze)
	not denied(testing.request({"time": "2026-12-01T06:00:00Z"}), freeze)
}

test_people_alone if {
	people := object.union(freeze, {"git": false})
	not denied(testing.request(sync), people)
	denied(testing.request({}), people)
}

test_some_namespaces if {
	denied(testing.request({}), object.union(freeze, {"namespaces": ["sh*"]}))
	not denied(testing.request({}), object.union(freeze, {"namespaces": ["payments"]}))
}

test_some_people_are_excepted if {
	excepted := object.union(freeze, {"except": ["release"]})
	not denied(testing.request(testing.user("bo", ["release"])), excepted)
	denied(testing.request({}), excepted)
}

test_without_a_freeze_nothing_is_denied if {
	count(change_freeze.deny) == 0 with input as testing.request({})
}
