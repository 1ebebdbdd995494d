# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package undeclared

# METADATA
# title: Components and service accounts may set fields that git does not set
# description: >-
#   By enforcement.undeclared of the GitSync. RejectPeople: everybody but people.
#   Permit: everybody. Reject: nobody; what no manager owns was put there by the
#   API server itself and stays.
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

by_setting(_) if input.sync.undeclared == "Permit"

by_setting(change) if {
	input.sync.undeclared == "RejectPeople"
	not change.person
}

by_setting(change) if {
	input.origin == "drift"
	not change.manager
}
