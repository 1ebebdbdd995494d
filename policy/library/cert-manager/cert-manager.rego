# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: cert-manager writes its Secrets, bundles and challenges
# description: >-
#   CA bundles of objects that ask for one, the Secrets that Certificates name, and
#   the paths of HTTP challenges in Ingresses that ask for them. It is bound by
#   what git's own objects ask cert-manager to do.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["*:cert-manager", "*:cert-manager-cainjector"]
#     about: the service accounts that cert-manager runs under
#   knows:
#   - accounts: ["*:cert-manager*"]
#     managers: [cert-manager-*]
#     kinds: [Secret, Ingress.networking.k8s.io, "*"]
#     paths: [data, spec.rules, "**.caBundle", metadata.annotations, metadata.labels]
package library.cert_manager

import data.mainstay.lib

# METADATA
# title: The CA bundle of an object that asks for one
# description: Also of accounts that the built-in policy cabundle does not know.
exception contains {
	"reason": "the CA bundle is injected",
	"paths": [change.path | some change in input.changes; ca_bundle(change)],
	"record": false,
} if {
	input.kind.group in {"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"}
	some key in ["inject-ca-from", "inject-ca-from-secret", "inject-apiserver-ca"]
	input.oldObject.metadata.annotations[sprintf("cert-manager.io/%s", [key])]
	some change in input.changes
	ca_bundle(change)
	by_cert_manager
}

# METADATA
# title: The Secret that a Certificate names
exception contains {
	"reason": "the Certificate names this Secret",
	"paths": [change.path | some change in input.changes; of_certificate(change, certificate)],
	"record": false,
} if {
	input.kind.kind == "Secret"
	input.kind.group == ""
	some certificate in data.cluster["cert-manager.io"].Certificate[input.namespace]
	certificate.spec.secretName == input.name
	some change in input.changes
	of_certificate(change, certificate)
	by_cert_manager
}

# METADATA
# title: The path of an HTTP challenge
exception contains {
	"reason": "an HTTP challenge of cert-manager's",
	"paths": ["spec.rules"],
	"record": false,
} if {
	input.kind.kind == "Ingress"
	input.oldObject.metadata.annotations["acme.cert-manager.io/http01-edit-in-place"] == "true"
	some change in input.changes
	change.path == "spec.rules"
	without_challenges(change.from) == without_challenges(change.to)
	by_cert_manager
}

ca_bundle(change) if change.segments[count(change.segments) - 1] == "caBundle"

# The keys that cert-manager writes, see cert-manager/cert-manager,
# pkg/apis/certmanager/v1/types.go and types_certificate.go.
of_certificate(change, _) if {
	change.segments[0] == "data"
	change.segments[1] in {
		"tls.crt",
		"tls.key",
		"ca.crt",
		"key.der",
		"tls-combined.pem",
		"keystore.jks",
		"truststore.jks",
		"keystore.p12",
		"truststore.p12",
	}
}

of_certificate(change, _) if {
	array.slice(change.segments, 0, 2) == ["metadata", "annotations"]
	startswith(change.segments[2], "cert-manager.io/")
}

of_certificate(change, _) if {
	array.slice(change.segments, 0, 2) == ["metadata", "labels"]
	change.segments[2] == "controller.cert-manager.io/fao"
}

# What the Certificate itself says the Secret shall have. The values of a Secret's
# annotations are hashed, so of those only the key is compared.
of_certificate(change, certificate) if {
	array.slice(change.segments, 0, 2) == ["metadata", "annotations"]
	certificate.spec.secretTemplate.annotations[change.segments[2]]
}

of_certificate(change, certificate) if {
	array.slice(change.segments, 0, 2) == ["metadata", "labels"]
	change.to == certificate.spec.secretTemplate.labels[change.segments[2]]
}

# The rules without the paths of challenges, and without those that hold nothing
# else.
without_challenges(rules) := [rest |
	some rule in rules
	paths := [path | some path in rule.http.paths; not challenge(path)]
	count(paths) > 0
	rest := object.union(object.remove(rule, ["http"]), {"http": {"paths": paths}})
]

# See cert-manager/cert-manager, pkg/issuer/acme/http: ingress.go and service.go.
challenge(path) if {
	startswith(path.path, "/.well-known/acme-challenge/")
	startswith(path.backend.service.name, "cm-acme-http-solver-")
	path.backend.service.port.number == 8089
}

by_cert_manager if input.origin == "drift"

by_cert_manager if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["*:cert-manager", "*:cert-manager-cainjector"])

default settings := {}

settings := data.parameters["cert-manager"]
