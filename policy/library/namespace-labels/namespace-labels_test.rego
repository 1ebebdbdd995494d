# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.namespace_labels_test

import data.library.namespace_labels
import data.mainstay.testing

label(key) := {
	"kind": {"group": "", "version": "v1", "kind": "Namespace"},
	"changes": [object.union(testing.added("x", "1"), {"segments": ["metadata", "labels", key]})],
}

test_keys_that_are_left_to_others if {
	count(namespace_labels.exception) == 1 with input as testing.request(label("istio-injection"))
	count(namespace_labels.exception) == 1 with input as testing.drift(label("istio-injection"))
}

test_other_keys if {
	count(namespace_labels.exception) == 0 with input as testing.request(label("pod-security.kubernetes.io/enforce"))
	count(namespace_labels.exception) == 0 with input as testing.request(label("istio-injection-x"))
}

test_what_git_declares_is_gits if {
	declared := {"changes": [object.union(label("istio.io/rev").changes[0], {"declared": true})]}
	count(namespace_labels.exception) == 0 with input as testing.request(object.union(label("istio.io/rev"), declared))
}

test_only_namespaces if {
	i := object.union(label("istio.io/rev"), {"kind": {"kind": "Deployment", "group": "apps"}})
	count(namespace_labels.exception) == 0 with input as testing.request(i)
}

test_keys_are_a_parameter if {
	count(namespace_labels.exception) == 1 with input as testing.request(label("team.example.com/cost"))
		with data.parameters as {"namespace-labels": {"keys": ["team.example.com/*"]}}
}

test_with_groups_it_takes_a_record if {
	settings := {"namespace-labels": {"groups": ["mesh"]}}
	count(namespace_labels.exception) == 0 with input as testing.request(label("istio.io/rev"))
		with data.parameters as settings
	count(namespace_labels.exception) == 0 with input as testing.drift(label("istio.io/rev"))
		with data.parameters as settings
	member := object.union(testing.user("bo", ["mesh"]), label("istio.io/rev"))
	some e in namespace_labels.exception with input as testing.request(member) with data.parameters as settings
	not "record" in object.keys(e)
}
