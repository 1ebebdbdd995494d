# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: A change freeze stops people and git
# description: >-
#   While a freeze lasts people may change nothing that git declares, and commits
#   wait. Controllers go on: an autoscaler that stops is an outage. What is frozen
#   can be lifted by a BreakGlass, or by taking the freeze out of git.
# custom:
#   parameters:
#   - name: freezes
#     shape: [{from: time, until: time, reason: text, "namespaces?": [text], "except?": [text], "accounts?":
#       [account], "git?": flag}]
#     default: []
#     about: from when until when, and why; namespaces (all if absent), groups that are excepted, service accounts
#       that are stopped as well, and git (true if absent)
package library.change_freeze

import data.mainstay.lib

# METADATA
# title: A freeze is in force
deny contains {
	"reason": sprintf("change freeze: %s", [freeze.reason]),
	"until": freeze.until,
	"next": sprintf("wait until %s, or ask for a BreakGlass", [freeze.until]),
} if {
	some freeze in freezes
	in_force(freeze)
	some namespace in object.get(freeze, "namespaces", ["*"])
	glob.match(namespace, null, input.namespace)
	stopped(freeze)
}

in_force(freeze) if {
	now := time.parse_rfc3339_ns(input.time)
	now >= time.parse_rfc3339_ns(freeze.from)
	now < time.parse_rfc3339_ns(freeze.until)
}

stopped(freeze) if {
	input.origin == "sync"
	object.get(freeze, "git", true) == true
}

stopped(freeze) if {
	input.origin == "request"
	lib.is_person
	not excepted(freeze)
}

stopped(freeze) if {
	input.origin == "request"
	lib.by_account(object.get(freeze, "accounts", []))
}

excepted(freeze) if {
	some group in object.get(freeze, "except", [])
	lib.by_group(group)
}

freezes := object.get(settings, "freezes", [])

default settings := {}

settings := data.parameters["change-freeze"]
