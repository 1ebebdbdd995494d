package notes_test

import data.mainstay.testing
import data.notes

test_a_developer_may_leave_a_note if {
	some permit in notes.exception with input as testing.request(testing.user("alice", ["developers"]))
	permit.paths == [`metadata.annotations["oncall-note"]`]
}

test_somebody_else_may_not if {
	count(notes.exception) == 0 with input as testing.request(testing.user("eve", ["visitors"]))
}

test_a_note_is_no_reason_to_delete if {
	count(notes.exception) == 0 with input as testing.deletion(testing.user("alice", ["developers"]))
}
