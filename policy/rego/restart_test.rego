# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package restart_test

import data.mainstay.testing
import data.restart

annotation := `spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]`

at(time) := {"changes": [testing.added(annotation, time)]}

test_now if {
	count(restart.exception) == 1 with input as testing.request(at("2026-11-23T12:00:00Z"))
	count(restart.exception) == 1 with input as testing.request(at("2026-11-23T13:00:59+01:00"))
	count(restart.exception) == 1 with input as testing.request({"changes": [testing.change(annotation, "2026-11-01T00:00:00Z", "2026-11-23T11:59:30Z")]})
}

test_only_that_path if {
	some e in restart.exception with input as testing.request(at("2026-11-23T12:00:00Z"))
	e.paths == [annotation]
	object.keys(e) == {"reason", "paths"}
}

test_not_now if {
	count(restart.exception) == 0 with input as testing.request(at("2026-11-23T12:02:00Z"))
	count(restart.exception) == 0 with input as testing.request(at("2026-11-23T11:58:00Z"))
}

test_no_time if {
	count(restart.exception) == 0 with input as testing.request(at("yesterday"))
	count(restart.exception) == 0 with input as testing.request(at(5))
}

test_not_removed if {
	gone := {"op": "remove", "path": annotation, "segments": [], "from": "2026-11-23T12:00:00Z", "declared": false}
	count(restart.exception) == 0 with input as testing.request({"changes": [gone]})
}

test_not_found_afterwards if {
	count(restart.exception) == 0 with input as testing.drift(at("2026-11-23T12:00:00Z"))
}
