# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: A group may change what the window names, while it is open
# description: >-
#   Windows by day and time of a time zone. What is permitted ends with the window,
#   and goes back to what git says unless git says the same by then. It rests on
#   who asked and when, so a record of the request keeps it, and drift without one
#   is not permitted.
# custom:
#   parameters:
#   - name: windows
#     shape: [{days: [day], time: window, zone: zone, groups: [text], "paths?": [path], "namespaces?": [text],
#       "kinds?": [text], "reason?": text}]
#     default: []
#     about: when, who and what; a window that runs past midnight belongs to the day on which it opens
package library.maintenance_window

import data.mainstay.lib

# METADATA
# title: A maintenance window is open
exception contains {
	"reason": object.get(window, "reason", sprintf("maintenance window %s %s", [window.time, window.zone])),
	"paths": object.get(window, "paths", ["spec.**"]),
	"until": end,
	"warn": sprintf("the window closes at %s: what git does not say by then is put back", [end]),
} if {
	input.origin == "request"
	input.operation == "UPDATE"
	some window in windows
	speaks_of(window)
	some group in window.groups
	lib.by_group(group)
	end := closes(window)
}

speaks_of(window) if {
	some namespace in object.get(window, "namespaces", ["*"])
	glob.match(namespace, null, input.namespace)
	some kind in object.get(window, "kinds", ["*"])
	glob.match(kind, null, input.kind.kind)
}

# When an open window closes; undefined for one that is not open.
closes(window) := end if {
	lib.within(window.time, window.zone)
	opened_on(window) in window.days
	[from, to] := split(window.time, "-")
	length := ((minutes(to) - minutes(from)) + 1440) % 1440
	since := ((now(window) - minutes(from)) + 1440) % 1440
	ns := time.parse_rfc3339_ns(input.time)

	# The seconds of the running minute have passed, too.
	passed := ns % 60000000000
	end := time.format([(ns - passed) + ((length - since) * 60000000000), "UTC", "2006-01-02T15:04:05Z07:00"])
}

# The day on which the window was opened: yesterday, after midnight.
opened_on(window) := lib.weekday(window.zone) if not after_midnight(window)

opened_on(window) := time.weekday([time.parse_rfc3339_ns(input.time) - 86400000000000, window.zone]) if {
	after_midnight(window)
}

after_midnight(window) if {
	[from, to] := split(window.time, "-")
	minutes(from) > minutes(to)
	now(window) < minutes(to)
}

now(window) := (clock[0] * 60) + clock[1] if {
	clock := time.clock([time.parse_rfc3339_ns(input.time), window.zone])
}

minutes(text) := (to_number(hour) * 60) + to_number(minute) if [hour, minute] := split(text, ":")

windows := object.get(settings, "windows", [])

default settings := {}

settings := data.parameters["maintenance-window"]
