# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package machinery

# METADATA
# title: An object that is being deleted may go
# description: >-
#   Its deletion was judged when it was asked for; deleting it again, and taking
#   its finalizers off, only finishes it.
exception contains {"reason": "the object is being deleted"} if {
	input.operation == "DELETE"
	input.oldObject.metadata.deletionTimestamp
}

exception contains {
	"reason": "the object is being deleted, and this finalizer is done",
	"paths": [change.path | some change in input.changes; finalizer_removed(change)],
	"record": false,
} if {
	input.operation == "UPDATE"
	input.object.metadata.deletionTimestamp
	some change in input.changes
	finalizer_removed(change)
}

finalizer_removed(change) if {
	array.slice(change.segments, 0, 2) == ["metadata", "finalizers"]
	change.op == "remove"
}

# A list whose structure nobody knows changes as a whole.
finalizer_removed(change) if {
	change.segments == ["metadata", "finalizers"]
	change.op == "replace"
	is_array(change.to)
	every finalizer in change.to { finalizer in change.from }
}
