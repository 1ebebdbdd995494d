# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: No shells in pods
# description: >-
#   exec, attach and ephemeral containers are refused in the pods of workloads that
#   git declares. They change nothing that git says, so only a denial speaks of
#   them; drift has none.
# custom:
#   parameters:
#   - name: namespaces
#     shape: [text]
#     default: ["*"]
#     about: where; a * is any text
#   - name: subresources
#     shape: [text]
#     default: [exec, attach, ephemeralcontainers]
#     about: what; portforward can be added
#   - name: groups
#     shape: [text]
#     default: []
#     about: who may all the same
#   - name: final
#     shape: flag
#     default: false
#     about: whether no BreakGlass lifts it
package library.no_exec

import data.mainstay.lib

# METADATA
# title: A shell in a pod is refused
deny contains {
	"reason": sprintf("no %s in namespace %s", [input.subResource, input.namespace]),
	"next": "read logs and metrics, or ask for a BreakGlass",
	"final": final,
} if {
	input.subResource in {"attach", "ephemeralcontainers", "exec", "portforward"}
	input.subResource in subresources
	some namespace in namespaces
	glob.match(namespace, null, input.namespace)
	not excepted
}

excepted if {
	some group in groups
	lib.by_group(group)
}

namespaces := object.get(settings, "namespaces", ["*"])

subresources := object.get(settings, "subresources", ["exec", "attach", "ephemeralcontainers"])

groups := object.get(settings, "groups", [])

final := object.get(settings, "final", false)

default settings := {}

settings := data.parameters["no-exec"]
