# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: What policies share
# description: Compiled into every source of policies as data.mainstay.lib.
package mainstay.lib

# METADATA
# title: The request was sent by this user
# description: Never for drift, where nobody knows who it was.
by_user(name) if input.userInfo.username == name

# METADATA
# title: The request was sent by a member of this group
by_group(name) if name in input.userInfo.groups

# METADATA
# title: The request was sent by this service account
by_service_account(namespace, name) if {
	input.actor.serviceAccount.namespace == namespace
	input.actor.serviceAccount.name == name
}

# METADATA
# title: The request was sent by one of these service accounts
# description: Each is NAMESPACE:NAME; a * is any text.
by_account(accounts) if {
	some account in accounts
	glob.match(account, null, sprintf("%s:%s", [
		input.actor.serviceAccount.namespace,
		input.actor.serviceAccount.name,
	]))
}

# METADATA
# title: A person made the change
# description: >-
#   For a request everybody but service accounts, nodes and the control plane.
#   For drift the field manager says so, which anyone can choose.
is_person if input.actor.person

# METADATA
# title: A component of the cluster sent the request
# description: >-
#   The control plane, nodes, and service accounts of kube-system with a token of
#   their own, which their name alone does not prove. Never for drift.
is_component if input.userInfo.username in {
	"system:apiserver",
	"system:kube-controller-manager",
	"system:kube-scheduler",
	"system:cloud-controller-manager",
}

is_component if {
	startswith(input.userInfo.username, "system:node:")
	by_group("system:nodes")
}

is_component if {
	input.actor.serviceAccount.namespace == "kube-system"
	input.userInfo.extra["authentication.kubernetes.io/credential-id"]
}

# METADATA
# title: A path is covered by a pattern
# description: The code that matches the paths of exceptions.
covers(pattern, path) if mainstay.covers(pattern, path)

# METADATA
# title: The time is within a window such as 22:00-06:00 of a time zone
within(window, zone) if {
	[from, to] := [_minutes(t) | some t in split(window, "-")]
	now := _now(zone)
	_between(from, now, to)
}

# METADATA
# title: The day of the week in a time zone, such as Monday
weekday(zone) := time.weekday([time.parse_rfc3339_ns(input.time), zone])

_now(zone) := (clock[0] * 60) + clock[1] if {
	clock := time.clock([time.parse_rfc3339_ns(input.time), zone])
}

_minutes(text) := (to_number(hour) * 60) + to_number(minute) if {
	[hour, minute] := split(trim_space(text), ":")
}

_between(from, now, to) if {
	from <= to
	now >= from
	now < to
}

_between(from, now, to) if {
	from > to
	now >= from
}

_between(from, now, to) if {
	from > to
	now < to
}
