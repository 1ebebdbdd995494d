# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.maintenance_window_test

import data.library.maintenance_window
import data.mainstay.testing

night := {"days": ["Saturday"], "time": "22:00-04:00", "zone": "Europe/Berlin", "groups": ["ops"]}

ends(overrides, window) := {e.until |
	i := object.union(testing.user("bo", ["ops"]), overrides)
	some e in maintenance_window.exception with input as testing.request(i)
		with data.parameters as {"maintenance-window": {"windows": [window]}}
}

# 2026-11-28 is a Saturday; Berlin is an hour ahead of UTC.
test_while_it_is_open if {
	ends({"time": "2026-11-28T21:00:00Z"}, night) == {"2026-11-29T03:00:00Z"}
	ends({"time": "2026-11-28T22:59:59Z"}, night) == {"2026-11-29T03:00:00Z"}
	ends({"time": "2026-11-29T02:59:30Z"}, night) == {"2026-11-29T03:00:00Z"}
}

test_while_it_is_closed if {
	ends({"time": "2026-11-28T20:59:00Z"}, night) == set()
	ends({"time": "2026-11-29T03:00:00Z"}, night) == set()
	ends({"time": "2026-11-27T23:00:00Z"}, night) == set()
	ends({"time": "2026-11-29T21:00:00Z"}, night) == set()
}

test_the_night_before_is_another_day if {
	ends({"time": "2026-11-28T01:00:00Z"}, night) == set()
}

test_a_window_of_one_day if {
	lunch := {"days": ["Monday"], "time": "12:00-14:00", "zone": "UTC", "groups": ["ops"]}
	ends({}, lunch) == {"2026-11-23T14:00:00Z"}
}

test_what_it_speaks_of if {
	open := {"time": "2026-11-28T21:00:00Z"}
	count(ends(open, object.union(night, {"namespaces": ["sh*"], "kinds": ["Deployment"]}))) == 1
	count(ends(open, object.union(night, {"namespaces": ["payments"]}))) == 0
	count(ends(open, object.union(night, {"kinds": ["Service"]}))) == 0
	count(ends(object.union(open, {"operation": "DELETE"}), night)) == 0
}

test_only_the_group if {
	count(maintenance_window.exception) == 0 with input as testing.request({"time": "2026-11-28T21:00:00Z"})
		with data.parameters as {"maintenance-window": {"windows": [night]}}
}

test_paths if {
	some e in maintenance_window.exception with input as testing.request(object.union(
		testing.user("bo", ["ops"]),
		{"time": "2026-11-28T21:00:00Z"},
	))
		with data.parameters as {"maintenance-window": {"windows": [object.union(night, {"paths": ["spec.replicas"]})]}}
	e.paths == ["spec.replicas"]
}

test_no_drift if {
	count(maintenance_window.exception) == 0 with input as testing.drift({"time": "2026-11-28T21:00:00Z"})
		with data.parameters as {"maintenance-window": {"windows": [night]}}
	count(maintenance_window.exception) == 0 with input as testing.request({"time": "2026-11-28T21:00:00Z"})
}
