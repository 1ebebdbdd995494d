# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.external_secrets_test

import data.library.external_secrets
import data.mainstay.testing

operator := testing.service_account("external-secrets", "external-secrets")

secret := {"kind": {"group": "", "version": "v1", "kind": "Secret"}, "name": "db"}

at(segments) := {"changes": [object.union(testing.change(concat(".", segments), "h1", "h2"), {"segments": segments})]}

external := {"metadata": {"name": "db"}, "spec": {"data": [{"secretKey": "password"}]}}

cluster(one) := {"external-secrets.io": {"ExternalSecret": {"shop": {"db": one}}}}

permitted(overrides, one) if {
	count(external_secrets.exception) == 1 with input as testing.request(object.union_n([operator, secret, overrides]))
		with data.cluster as cluster(one)
}

test_keys_that_are_listed if {
	permitted(at(["data", "password"]), external)
	not permitted(at(["data", "user"]), external)
}

test_keys_from_elsewhere if {
	permitted(at(["data", "user"]), object.union(external, {"spec": {"dataFrom": [{"extract": {"key": "db"}}]}}))
	permitted(at(["data", "user"]), object.union(external, {"spec": {"target": {"template": {"data": {"user": "x"}}}}}))
	not permitted(at(["data", "user"]), object.union(external, {"spec": {"dataFrom": []}}))
}

test_its_own_annotations if {
	permitted(at(["metadata", "annotations", "reconcile.external-secrets.io/data-hash"]), external)
	not permitted(at(["metadata", "annotations", "example.com/x"]), external)
}

test_the_target_has_another_name if {
	named := object.union(external, {"spec": {"target": {"name": "other"}}})
	not permitted(at(["data", "password"]), named)
	permitted(object.union({"name": "other"}, at(["data", "password"])), named)
}

test_only_the_operator_may_ask if {
	i := object.union(secret, at(["data", "password"]))
	count(external_secrets.exception) == 0 with input as testing.request(i) with data.cluster as cluster(external)
	count(external_secrets.exception) == 1 with input as testing.drift(i) with data.cluster as cluster(external)
	count(external_secrets.exception) == 0 with input as testing.drift(i) with data.cluster as {}
}

hook(name) := {
	"kind": {"group": "admissionregistration.k8s.io", "version": "v1", "kind": "ValidatingWebhookConfiguration"},
	"name": name,
	"changes": [testing.change("webhooks.clientConfig.caBundle", "a", "b")],
}

test_its_own_webhooks if {
	certs := testing.service_account("external-secrets", "external-secrets-cert-controller")
	count(external_secrets.exception) == 1 with input as testing.request(object.union(certs, hook("secretstore-validate")))
	count(external_secrets.exception) == 0 with input as testing.request(object.union(certs, hook("other")))
}

test_a_refresh if {
	i := {
		"kind": {"group": "external-secrets.io", "version": "v1", "kind": "ExternalSecret"},
		"changes": [testing.added("metadata.annotations.force-sync", "1764154800")],
	}
	count(external_secrets.exception) == 1 with input as testing.request(i)
	store := object.union(i, {"kind": {"kind": "SecretStore"}})
	count(external_secrets.exception) == 0 with input as testing.request(store)
}
