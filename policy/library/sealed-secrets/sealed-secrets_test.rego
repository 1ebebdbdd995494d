# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.sealed_secrets_test

import data.library.sealed_secrets
import data.mainstay.testing

controller := testing.service_account("kube-system", "sealed-secrets-controller")

secret := {
	"kind": {"group": "", "version": "v1", "kind": "Secret"},
	"name": "db",
	"oldObject": {"metadata": {"annotations": {"sealedsecrets.bitnami.com/patch": "hash-4"}}},
}

at(key) := {"changes": [object.union(testing.change("data", "h1", "h2"), {"segments": ["data", key]})]}

cluster := {"bitnami.com": {"SealedSecret": {"shop": {"db": {"spec": {
	"encryptedData": {"password": "AgB…"},
	"template": {"data": {"config": "x"}, "metadata": {"labels": {"team": "shop"}, "annotations": {"note": "x"}}},
}}}}}}

permitted(overrides) if {
	count(sealed_secrets.exception) == 1 with input as testing.request(object.union_n([controller, secret, overrides]))
		with data.cluster as cluster
}

test_keys_that_are_sealed if {
	permitted(at("password"))
	permitted(at("config"))
	not permitted(at("user"))
}

metadata(kind, key, to) := {"changes": [object.union(testing.added("x", to), {"segments": ["metadata", kind, key]})]}

test_labels_and_annotations_of_the_template if {
	permitted(metadata("labels", "team", "shop"))
	permitted(metadata("annotations", "note", "hash-5"))
	not permitted(metadata("labels", "team", "web"))
	not permitted(metadata("annotations", "other", "hash-5"))
}

test_another_secret if {
	not permitted(object.union(at("password"), {"name": "web"}))
	not permitted(object.union(at("password"), {"namespace": "payments"}))
}

test_a_secret_that_does_not_ask_for_it if {
	i := object.union_n([controller, object.remove(secret, ["oldObject"]), at("password")])
	count(sealed_secrets.exception) == 0 with input as testing.request(i) with data.cluster as cluster
}

test_only_the_controller_may_ask if {
	i := object.union(secret, at("password"))
	count(sealed_secrets.exception) == 0 with input as testing.request(i) with data.cluster as cluster
	count(sealed_secrets.exception) == 1 with input as testing.drift(i) with data.cluster as cluster
}
