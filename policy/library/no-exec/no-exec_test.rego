# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.no_exec_test

import data.library.no_exec
import data.mainstay.testing

use(name) := {"operation": "CONNECT", "subResource": name, "changes": []}

test_shells if {
	every name in ["exec", "attach", "ephemeralcontainers"] {
		count(no_exec.deny) == 1 with input as testing.request(use(name))
	}
}

test_other_uses if {
	every name in ["", "portforward", "eviction", "resize", "scale"] {
		count(no_exec.deny) == 0 with input as testing.request(use(name))
	}
}

test_ports_can_be_added if {
	count(no_exec.deny) == 1 with input as testing.request(use("portforward"))
		with data.parameters as {"no-exec": {"subresources": ["portforward"]}}
}

test_some_namespaces if {
	count(no_exec.deny) == 0 with input as testing.request(use("exec"))
		with data.parameters as {"no-exec": {"namespaces": ["pay*"]}}
	count(no_exec.deny) == 1 with input as testing.request(object.union(use("exec"), {"namespace": "payments"}))
		with data.parameters as {"no-exec": {"namespaces": ["pay*"]}}
}

test_some_people_may if {
	settings := {"no-exec": {"groups": ["sre"]}}
	count(no_exec.deny) == 0 with input as testing.request(object.union(testing.user("bo", ["sre"]), use("exec")))
		with data.parameters as settings
	count(no_exec.deny) == 1 with input as testing.request(use("exec")) with data.parameters as settings
}

test_final_is_a_parameter if {
	some d in no_exec.deny with input as testing.request(use("exec"))
	d.final == false
	some f in no_exec.deny with input as testing.request(use("exec")) with data.parameters as {"no-exec": {"final": true}}
	f.final == true
}
