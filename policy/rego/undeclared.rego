# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package undeclared

import data.mainstay.lib

# METADATA
# title: Components and service accounts may set fields that git does not set
# description: >-
#   By enforcement.undeclared of the GitSync. RejectPeople: everybody but people.
#   Permit: everybody. Reject: nobody but components of the cluster. What no
#   manager owns was put there by the API server itself and stays. Finalizers
#   that git does not set are the same, but never a person's: with one, anyone
#   could keep an object for good.
exception contains {
	"reason": "git does not set these fields",
	"paths": [change.path | some change in input.changes; may_stand(change); not change.mistakable],
	"record": false,
} if {
	some change in input.changes
	may_stand(change)
	not change.mistakable
}

# A service account that works with a person's tool, such as a CI job with
# kubectl, leaves the trace of a person: only a record tells that it was none.
exception contains {
	"reason": "git does not set these fields",
	"paths": [change.path | some change in input.changes; may_stand(change); change.mistakable],
} if {
	some change in input.changes
	may_stand(change)
	change.mistakable
}

may_stand(change) if {
	not change.declared
	by_setting(change)
}

may_stand(change) if {
	finalizer_added(change)
	not change.person
	by_setting(change)
}

# What git does not set and somebody takes away is as git says.
finalizer_added(change) if {
	change.op == "add"
	array.slice(change.segments, 0, 2) == ["metadata", "finalizers"]
}

# METADATA
# title: Components of the cluster may set fields that git does not set
# description: >-
#   Under Reject, too, or nothing would work. By their account, so that it takes
#   a record to stay.
exception contains {
	"reason": "a component of the cluster sets these fields, and git does not",
	"paths": [change.path | some change in input.changes; by_component(change)],
} if {
	input.sync.undeclared == "Reject"
	some change in input.changes
	by_component(change)
}

by_component(change) if {
	not change.declared
	lib.is_component
}

by_component(change) if {
	finalizer_added(change)
	lib.is_component
}

by_setting(_) if input.sync.undeclared == "Permit"

by_setting(change) if {
	input.sync.undeclared == "RejectPeople"
	not change.person
}

by_setting(change) if {
	input.origin == "drift"
	not change.manager
}
