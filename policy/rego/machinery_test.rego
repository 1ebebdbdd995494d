# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package machinery_test

import data.machinery
import data.mainstay.testing

dying := {"metadata": {"deletionTimestamp": "2026-11-23T11:59:00Z"}}

finalizer(op, name) := {"op": op, "path": sprintf("metadata.finalizers[=%q]", [name]), "segments": ["metadata", "finalizers", name], "declared": true}

test_deleting_again if {
	count(machinery.exception) == 1 with input as testing.deletion({"oldObject": dying})
	count(machinery.exception) == 0 with input as testing.deletion({})
}

test_a_finalizer_goes_while_deleting if {
	removed := {"changes": [finalizer("remove", "x")]}
	some e in machinery.exception with input as testing.request(object.union(removed, {"object": dying}))
	e.paths == [`metadata.finalizers[="x"]`]
	count(machinery.exception) == 0 with input as testing.request(removed)
}

test_no_finalizer_comes if {
	count(machinery.exception) == 0 with input as testing.request({"object": dying, "changes": [finalizer("add", "x")]})
}

list(from, to) := {"object": dying, "changes": [testing.change("metadata.finalizers", from, to)]}

test_a_list_may_only_shrink if {
	count(machinery.exception) == 1 with input as testing.request(list(["a", "b"], ["a"]))
	count(machinery.exception) == 0 with input as testing.request(list(["a", "b"], ["a", "c"]))
}

test_nothing_else_changes_while_deleting if {
	count(machinery.exception) == 0 with input as testing.request({"object": dying})
}
