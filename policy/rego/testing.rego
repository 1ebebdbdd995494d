# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Inputs for tests
# description: >-
#   Compiled beside the tests of every source as data.mainstay.testing. Each
#   function takes what differs and fills in the rest.
package mainstay.testing

# METADATA
# title: A request by alice that changes the image of a Deployment
request(overrides) := object.union(_base, overrides)

# METADATA
# title: The same change, found by the sync loop
drift(overrides) := object.union(
	object.union(object.remove(_base, ["userInfo"]), {
		"origin": "drift",
		"actor": {"person": false, "confidence": "none"},
	}),
	overrides,
)

# METADATA
# title: The same change, in a commit that is about to be applied
sync(overrides) := object.union(
	object.union(object.union(_base, service_account("mainstay-system", "mainstay")), {
		"origin": "sync",
		"actor": {"confidence": "record"},
	}),
	overrides,
)

# METADATA
# title: A request to delete a Deployment
deletion(overrides) := object.union(object.union(_base, {"operation": "DELETE", "changes": []}), overrides)

# METADATA
# title: A declared field that changes from one value to another
change(path, from, to) := {
	"op": "replace",
	"path": path,
	"segments": split(path, "."),
	"from": from,
	"to": to,
	"declared": true,
	"person": true,
}

# METADATA
# title: An undeclared field that is added
added(path, to) := {
	"op": "add",
	"path": path,
	"segments": split(path, "."),
	"to": to,
	"declared": false,
	"person": true,
}

# METADATA
# title: The part of input that says who asks, for a person
user(name, groups) := {
	"userInfo": {"username": name, "uid": "", "groups": groups, "extra": {}},
	"actor": {"person": true, "confidence": "request"},
}

# METADATA
# title: The part of input that says who asks, for a service account
service_account(namespace, name) := {
	"userInfo": {
		"username": sprintf("system:serviceaccount:%s:%s", [namespace, name]),
		"uid": "",
		"groups": ["system:serviceaccounts", sprintf("system:serviceaccounts:%s", [namespace])],
		"extra": {},
	},
	"actor": {
		"person": false,
		"confidence": "request",
		"serviceAccount": {"namespace": namespace, "name": name},
	},
}

_base := {
	"operation": "UPDATE",
	"subResource": "",
	"dryRun": false,
	"origin": "request",
	"kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
	"resource": {"group": "apps", "version": "v1", "resource": "deployments"},
	"namespace": "shop",
	"name": "web",
	"object": {"metadata": {"name": "web", "namespace": "shop"}},
	"oldObject": {"metadata": {"name": "web", "namespace": "shop"}},
	"options": {},
	"userInfo": {"username": "alice", "uid": "", "groups": ["system:authenticated"], "extra": {}},
	"actor": {"person": true, "confidence": "request"},
	"changes": [change("spec.template.spec.containers[name=web].image", "nginx:1.27", "nginx:1.28")],
	"sync": {
		"namespace": "mainstay-system",
		"name": "shop",
		"labels": {},
		"mode": "Enforce",
		"undeclared": "RejectPeople",
	},
	"source": {
		"repo": "https://git.example.org/shop.git",
		"path": "apps/web.yaml",
		"line": 23,
		"revision": "main@sha1:a1b2c3d",
		"author": "Bo",
		"committedAt": "2026-11-20T09:00:00Z",
	},
	"namespaceObject": {"labels": {}, "annotations": {}},
	"cluster": {"name": "test"},
	"time": "2026-11-23T12:00:00Z",
}
