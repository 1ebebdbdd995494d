# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: A restart by annotation, within a longer time
# description: >-
#   Like the built-in policy restart, for tools that are slower than a minute or
#   use annotations of their own. It changes nothing that git says and stays for
#   good, by a record of the request; as drift it is not permitted.
# custom:
#   parameters:
#   - name: window
#     shape: duration
#     default: 15m
#     about: how far the time in the annotation may be from now
#   - name: annotations
#     shape: [text]
#     default: ["kubectl.kubernetes.io/restartedAt"]
#     about: annotations of the pod template that hold the time
#   - name: groups
#     shape: [text]
#     default: []
#     about: who may; everybody who may update the object where it is empty
#   knows:
#   - accounts: ["*:*reloader*", "*:*restart*"]
#     kinds: [Deployment.apps, StatefulSet.apps, DaemonSet.apps]
#     paths: [spec.template.metadata.annotations]
package library.rollout_restart

import data.mainstay.lib

# METADATA
# title: The annotation that restarts pods, with a time near now
exception contains {
	"reason": "a restart changes nothing that git says",
	"paths": [change.path],
} if {
	input.origin == "request"
	by_group
	some change in input.changes
	restarts(change)
}

restarts(change) if {
	array.slice(change.segments, 0, 4) == ["spec", "template", "metadata", "annotations"]
	change.segments[4] in annotations
	change.op in {"add", "replace"}
	is_string(change.to)
	regex.match(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$`, change.to)
	distance := abs(time.parse_rfc3339_ns(change.to) - time.parse_rfc3339_ns(input.time))
	distance <= time.parse_duration_ns(window)
}

by_group if count(groups) == 0

by_group if {
	some group in groups
	lib.by_group(group)
}

window := object.get(settings, "window", "15m")

annotations := object.get(settings, "annotations", ["kubectl.kubernetes.io/restartedAt"])

groups := object.get(settings, "groups", [])

default settings := {}

settings := data.parameters["rollout-restart"]
