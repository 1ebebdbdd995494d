# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Some labels of a namespace are other teams'
# description: >-
#   Keys that git does not set, by a list. Where nobody is named the state itself
#   is permitted, so drift is judged as the request was; where groups are, a record
#   of the request keeps it.
# custom:
#   parameters:
#   - name: keys
#     shape: [text]
#     default: [istio-injection, istio.io/rev, istio.io/dataplane-mode, linkerd.io/inject,
#       goldilocks.fairwinds.com/enabled]
#     about: keys of labels and annotations; a * is any text. Those of Pod Security are not among them
#   - name: groups
#     shape: [text]
#     default: []
#     about: who may; everybody who may update the namespace where it is empty
#   knows:
#   - accounts: ["*:*rancher*", "*:*goldilocks*"]
#     kinds: [Namespace]
#     paths: [metadata.labels, metadata.annotations]
package library.namespace_labels

import data.mainstay.lib

# METADATA
# title: A label that git leaves to others, by anybody
exception contains {
	"reason": "git leaves this key to others",
	"paths": [change.path | some change in input.changes; left_to_others(change)],
	"record": false,
} if {
	is_namespace
	count(groups) == 0
	some change in input.changes
	left_to_others(change)
}

# METADATA
# title: A label that git leaves to others, by a group
exception contains {
	"reason": "git leaves this key to others",
	"paths": [change.path | some change in input.changes; left_to_others(change)],
} if {
	is_namespace
	input.origin == "request"
	some group in groups
	lib.by_group(group)
	some change in input.changes
	left_to_others(change)
}

is_namespace if {
	input.kind.kind == "Namespace"
	input.kind.group == ""
}

left_to_others(change) if {
	not change.declared
	count(change.segments) == 3
	array.slice(change.segments, 0, 2) in [["metadata", "labels"], ["metadata", "annotations"]]
	some key in keys
	glob.match(key, null, change.segments[2])
}

keys := object.get(settings, "keys", [
	"istio-injection",
	"istio.io/rev",
	"istio.io/dataplane-mode",
	"linkerd.io/inject",
	"goldilocks.fairwinds.com/enabled",
])

groups := object.get(settings, "groups", [])

default settings := {}

settings := data.parameters["namespace-labels"]
