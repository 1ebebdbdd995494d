package oncall_test

import data.mainstay.testing
import data.oncall

alice := testing.user("alice", ["developers"])

scaled(to) := object.union(alice, {"changes": [testing.change("spec.replicas", 2, to)]})

test_a_few_more_copies_are_permitted if {
	count(oncall.exception) == 1 with input as testing.request(scaled(8))
}

test_many_more_are_not if {
	count(oncall.exception) == 0 with input as testing.request(scaled(9))
}

test_none_at_all_is_not if {
	count(oncall.exception) == 0 with input as testing.request(scaled(0))
}
