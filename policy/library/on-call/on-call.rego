# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: The group on call may act while an incident is open
# description: >-
#   An incident is a ConfigMap that says until when; whoever may write it opens
#   one. The permission ends with the incident, and rests on who asked, so a record
#   of the request keeps it.
# custom:
#   parameters:
#   - name: group
#     shape: text
#     default: on-call
#     about: the group that may act
#   - name: incident
#     shape: text
#     default: incident
#     about: the name of the ConfigMap, in the namespace of the object or of its GitSync
#   - name: kinds
#     shape: [text]
#     default: [Deployment, StatefulSet, DaemonSet, CronJob, ConfigMap, HorizontalPodAutoscaler]
#     about: kinds that may be changed
#   - name: paths
#     shape: [path]
#     default: ["spec.**", "data.**", "metadata.annotations.**"]
#     about: paths that may be changed
#   - name: longest
#     shape: duration
#     default: 12h
#     about: how long an incident can be open, from when its ConfigMap was made
package library.on_call

import data.mainstay.lib

# METADATA
# title: An incident is open
exception contains {
	"reason": sprintf("incident %s", [object.get(open.data, "id", incident)]),
	"paths": paths,
	"until": end,
	"severity": "warning",
	"warn": sprintf("the incident ends at %s: what git does not say by then is put back", [end]),
} if {
	input.origin == "request"
	input.operation == "UPDATE"
	input.kind.kind in kinds
	lib.by_group(group)
	some open in incidents
	end := ends(open)
}

# In the namespace of the object, or in that of its GitSync.
incidents contains data.cluster.core.ConfigMap[input.namespace][incident]

incidents contains data.cluster.core.ConfigMap[input.sync.namespace][incident]

# The end that the incident gives, if it is open and no longer than it may be.
ends(open) := open.data.until if {
	until := time.parse_rfc3339_ns(open.data.until)
	time.parse_rfc3339_ns(input.time) < until
	made := time.parse_rfc3339_ns(open.metadata.creationTimestamp)
	until - made <= time.parse_duration_ns(longest)
}

group := object.get(settings, "group", "on-call")

incident := object.get(settings, "incident", "incident")

kinds := object.get(settings, "kinds", [
	"Deployment",
	"StatefulSet",
	"DaemonSet",
	"CronJob",
	"ConfigMap",
	"HorizontalPodAutoscaler",
])

paths := object.get(settings, "paths", ["spec.**", "data.**", "metadata.annotations.**"])

longest := object.get(settings, "longest", "12h")

default settings := {}

settings := data.parameters["on-call"]
