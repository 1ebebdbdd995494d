package notes_test

import data.notes

test_a_developer_may_leave_a_note if {
	some permit in notes.exception with input as {"operation": "UPDATE", "userInfo": {"groups": ["developers"]}}
	permit.paths == [`metadata.annotations["oncall-note"]`]
}

test_somebody_else_may_not if {
	count(notes.exception) == 0 with input as {"operation": "UPDATE", "userInfo": {"groups": ["visitors"]}}
}

test_a_note_is_no_reason_to_delete if {
	count(notes.exception) == 0 with input as {"operation": "DELETE", "userInfo": {"groups": ["developers"]}}
}
