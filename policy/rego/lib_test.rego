# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package lib_test

import data.mainstay.lib
import data.mainstay.testing

test_by_user if {
	lib.by_user("alice") with input as testing.request({})
	not lib.by_user("bob") with input as testing.request({})
	not lib.by_user("alice") with input as testing.drift({})
}

test_by_group if {
	lib.by_group("ops") with input as testing.request(testing.user("bo", ["ops"]))
	not lib.by_group("ops") with input as testing.request({})
}

test_by_service_account if {
	lib.by_service_account("kube-system", "x") with input as testing.request(testing.service_account("kube-system", "x"))
	not lib.by_service_account("kube-system", "x") with input as testing.request(testing.service_account("shop", "x"))
	not lib.by_service_account("kube-system", "x") with input as testing.request({})
}

test_by_account if {
	lib.by_account(["a:b", "keda:keda-*"]) with input as testing.request(testing.service_account("keda", "keda-operator"))
	lib.by_account(["*:x"]) with input as testing.request(testing.service_account("a.b", "x"))
	not lib.by_account(["keda:keda-operator"]) with input as testing.request(testing.service_account("shop", "keda-operator"))
	not lib.by_account(["*:*"]) with input as testing.request({})
	not lib.by_account(["*:*"]) with input as testing.drift({})
}

test_is_person if {
	lib.is_person with input as testing.request({})
	not lib.is_person with input as testing.request(testing.service_account("shop", "x"))
	not lib.is_person with input as testing.drift({})
}

test_is_component if {
	lib.is_component with input as testing.request(testing.user("system:kube-scheduler", []))
	lib.is_component with input as testing.request(testing.user("system:node:a", ["system:nodes"]))
	not lib.is_component with input as testing.request(testing.user("system:node:a", []))
	not lib.is_component with input as testing.request({})
	not lib.is_component with input as testing.drift({})
}

test_a_component_has_a_token if {
	token := {"userInfo": {"extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]}}}
	account := testing.service_account("kube-system", "x")
	lib.is_component with input as testing.request(object.union(account, token))
	not lib.is_component with input as testing.request(account)
	other := object.union(testing.service_account("shop", "x"), token)
	not lib.is_component with input as testing.request(other)
}

test_covers if {
	lib.covers("spec.**", "spec.template.metadata")
	lib.covers("metadata.annotations.*", `metadata.annotations["a/b"]`)
	not lib.covers("spec.replicas", "spec.paused")
}

# 12:00 UTC is 13:00 in Berlin, in winter.
test_within if {
	lib.within("09:00-17:00", "UTC") with input as testing.request({})
	lib.within("13:00-13:01", "Europe/Berlin") with input as testing.request({})
	not lib.within("12:00-13:00", "Europe/Berlin") with input as testing.request({})
	not lib.within("22:00-06:00", "UTC") with input as testing.request({})
	lib.within("22:00-06:00", "UTC") with input as testing.request({"time": "2026-11-23T23:30:00Z"})
	lib.within("22:00-06:00", "UTC") with input as testing.request({"time": "2026-11-23T05:59:00Z"})
	not lib.within("22:00-06:00", "UTC") with input as testing.request({"time": "2026-11-23T06:00:00Z"})
}

test_weekday if {
	lib.weekday("UTC") == "Monday" with input as testing.request({})
	lib.weekday("Asia/Tokyo") == "Tuesday" with input as testing.request({"time": "2026-11-23T20:00:00Z"})
}
