# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.cert_manager_test

import data.library.cert_manager
import data.mainstay.testing

controller := testing.service_account("cert-manager", "cert-manager")

secret := {"kind": {"group": "", "version": "v1", "kind": "Secret"}, "name": "web-tls"}

written(key) := {"changes": [object.union(testing.change("data", "h1", "h2"), {"segments": ["data", key]})]}

cluster := {"cert-manager.io": {"Certificate": {"shop": {"web": {"spec": {
	"secretName": "web-tls",
	"secretTemplate": {"labels": {"team": "shop"}},
}}}}}}

permitted(overrides) if {
	count(cert_manager.exception) == 1 with input as testing.request(object.union(controller, overrides))
		with data.cluster as cluster
}

test_the_secret_of_a_certificate if {
	permitted(object.union(secret, written("tls.crt")))
	count(cert_manager.exception) == 1 with input as testing.drift(object.union(secret, written("tls.crt")))
		with data.cluster as cluster
}

test_annotations_of_the_secret if {
	name := {"segments": ["metadata", "annotations", "cert-manager.io/certificate-name"]}
	permitted(object.union(secret, {"changes": [object.union(testing.added("a", "web"), name)]}))
	other := {"segments": ["metadata", "annotations", "example.com/x"]}
	not permitted(object.union(secret, {"changes": [object.union(testing.added("a", "web"), other)]}))
	team := {"segments": ["metadata", "labels", "team"]}
	permitted(object.union(secret, {"changes": [object.union(testing.added("a", "shop"), team)]}))
	not permitted(object.union(secret, {"changes": [object.union(testing.added("a", "web"), team)]}))
}

test_other_secrets_and_keys if {
	not permitted(object.union_n([secret, written("tls.crt"), {"name": "db"}]))
	not permitted(object.union(secret, written("password")))
	not permitted(object.union_n([secret, written("tls.crt"), {"namespace": "payments"}]))
}

test_only_cert_manager_may_ask if {
	count(cert_manager.exception) == 0 with input as testing.request(object.union(secret, written("tls.crt")))
		with data.cluster as cluster
}

bundle := {
	"kind": {"group": "apiregistration.k8s.io", "version": "v1", "kind": "APIService"},
	"changes": [testing.change("spec.caBundle", "", "QQ==")],
}

asks := {"oldObject": {"metadata": {"annotations": {"cert-manager.io/inject-ca-from": "shop/web"}}}}

test_a_bundle_that_is_asked_for if {
	permitted(object.union(bundle, asks))
	not permitted(bundle)
	not permitted(object.union_n([bundle, asks, {"changes": [testing.change("spec.url", "a", "b")]}]))
	not permitted(object.union_n([bundle, asks, {"kind": {"group": "example.com", "version": "v1", "kind": "Hook"}}]))
}

edited := {"oldObject": {"metadata": {"annotations": {"acme.cert-manager.io/http01-edit-in-place": "true"}}}}

own := {"host": "a.example.com", "http": {"paths": [{"path": "/", "backend": {"service": {"name": "web"}}}]}}

solver(path, name) := {"host": "a.example.com", "http": {"paths": [
	{"path": path, "backend": {"service": {"name": name, "port": {"number": 8089}}}},
	{"path": "/", "backend": {"service": {"name": "web"}}},
]}}

ingress(to) := {
	"kind": {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"},
	"changes": [testing.change("spec.rules", [own], to)],
}

test_a_challenge if {
	token := solver("/.well-known/acme-challenge/t", "cm-acme-http-solver-x")
	permitted(object.union(ingress([token]), edited))
	not permitted(ingress([token]))
}

test_nothing_but_a_challenge if {
	not permitted(object.union(ingress([solver("/x", "cm-acme-http-solver-x")]), edited))
	not permitted(object.union(ingress([solver("/.well-known/acme-challenge/t", "evil")]), edited))
	not permitted(object.union(ingress([]), edited))
}
