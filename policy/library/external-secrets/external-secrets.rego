# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: External Secrets fills the Secrets that ExternalSecrets name
# description: >-
#   The data of a Secret that git declares and an ExternalSecret of the same
#   namespace targets. The keys are bound where the ExternalSecret lists them.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["*:external-secrets", "*:external-secrets-cert-controller"]
#     about: the service accounts that External Secrets runs under
#   knows:
#   - accounts: ["*:external-secrets*"]
#     managers: [external-secrets, "externalsecrets.external-secrets.io/*"]
#     kinds: [Secret]
#     paths: [data, metadata.annotations, metadata.labels]
#   - accounts: ["*:external-secrets-cert-controller"]
#     kinds: [ValidatingWebhookConfiguration.admissionregistration.k8s.io,
#       CustomResourceDefinition.apiextensions.k8s.io]
#     paths: ["**.caBundle"]
package library.external_secrets

import data.mainstay.lib

# METADATA
# title: The Secret that an ExternalSecret names
exception contains {
	"reason": "the ExternalSecret fills this Secret",
	"paths": [change.path | some change in input.changes; filled(change, external)],
	"record": false,
} if {
	input.kind.kind == "Secret"
	input.kind.group == ""
	some external in data.cluster["external-secrets.io"].ExternalSecret[input.namespace]
	target(external) == input.name
	some change in input.changes
	filled(change, external)
	by_operator
}

# METADATA
# title: The CA bundle of the operator's own webhooks
exception contains {
	"reason": "the CA bundle is injected",
	"paths": [change.path | some change in input.changes; ca_bundle(change)],
	"record": false,
} if {
	input.kind.kind in {"ValidatingWebhookConfiguration", "CustomResourceDefinition"}
	input.kind.group in {"admissionregistration.k8s.io", "apiextensions.k8s.io"}
	own
	some change in input.changes
	ca_bundle(change)
	by_operator
}

# METADATA
# title: Anybody who may update an ExternalSecret may ask for a refresh now
exception contains {
	"reason": "a refresh changes nothing that git says",
	"paths": ["metadata.annotations.force-sync"],
	"record": false,
} if {
	input.kind.kind == "ExternalSecret"
	input.kind.group == "external-secrets.io"
	some change in input.changes
	change.path == "metadata.annotations.force-sync"
	not change.declared
}

target(external) := object.get(
	object.get(external.spec, "target", {}),
	"name",
	external.metadata.name,
)

filled(change, external) if {
	change.segments[0] == "data"
	change.segments[1] in listed(external)
}

# With dataFrom or a template the keys come from elsewhere.
filled(change, external) if {
	change.segments[0] == "data"
	some source in [object.get(external.spec, "dataFrom", []), object.get(external.spec, ["target", "template"], {})]
	count(source) > 0
}

# See external-secrets/external-secrets, apis/externalsecrets/v1.
filled(change, _) if {
	array.slice(change.segments, 0, 2) in [["metadata", "annotations"], ["metadata", "labels"]]
	startswith(change.segments[2], "reconcile.external-secrets.io/")
}

listed(external) := {entry.secretKey | some entry in external.spec.data}

own if startswith(input.name, "externalsecret")

own if startswith(input.name, "secretstore")

own if endswith(input.name, ".external-secrets.io")

ca_bundle(change) if change.segments[count(change.segments) - 1] == "caBundle"

by_operator if input.origin == "drift"

by_operator if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["*:external-secrets", "*:external-secrets-cert-controller"])

default settings := {}

settings := data.parameters["external-secrets"]
