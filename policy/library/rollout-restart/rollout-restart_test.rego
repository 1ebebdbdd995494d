# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.rollout_restart_test

import data.library.rollout_restart
import data.mainstay.testing

at(key, when) := {"changes": [object.union(
	testing.added("spec.template.metadata.annotations.x", when),
	{"segments": ["spec", "template", "metadata", "annotations", key]},
)]}

kubectl := "kubectl.kubernetes.io/restartedAt"

test_within_the_window if {
	count(rollout_restart.exception) == 1 with input as testing.request(at(kubectl, "2026-11-23T11:46:00Z"))
	count(rollout_restart.exception) == 1 with input as testing.request(at(kubectl, "2026-11-23T13:10:00+01:00"))
	count(rollout_restart.exception) == 0 with input as testing.request(at(kubectl, "2026-11-23T11:44:00Z"))
	count(rollout_restart.exception) == 0 with input as testing.request(at(kubectl, "now"))
}

test_other_keys_are_a_parameter if {
	i := at("example.com/restarted", "2026-11-23T12:00:00Z")
	count(rollout_restart.exception) == 0 with input as testing.request(i)
	count(rollout_restart.exception) == 1 with input as testing.request(i)
		with data.parameters as {"rollout-restart": {"annotations": ["example.com/restarted"]}}
}

test_the_window_is_a_parameter if {
	i := at(kubectl, "2026-11-23T11:00:00Z")
	count(rollout_restart.exception) == 1 with input as testing.request(i)
		with data.parameters as {"rollout-restart": {"window": "2h"}}
}

test_who_may_is_a_parameter if {
	i := at(kubectl, "2026-11-23T12:00:00Z")
	count(rollout_restart.exception) == 0 with input as testing.request(i)
		with data.parameters as {"rollout-restart": {"groups": ["ops"]}}
	count(rollout_restart.exception) == 1 with input as testing.request(object.union(testing.user("bo", ["ops"]), i))
		with data.parameters as {"rollout-restart": {"groups": ["ops"]}}
}

test_not_found_afterwards if {
	count(rollout_restart.exception) == 0 with input as testing.drift(at(kubectl, "2026-11-23T12:00:00Z"))
}

test_nothing_else if {
	some e in rollout_restart.exception with input as testing.request(at(kubectl, "2026-11-23T12:00:00Z"))
	e.paths == ["spec.template.metadata.annotations.x"]
}

test_another_change if {
	count(rollout_restart.exception) == 0 with input as testing.request({})
}
