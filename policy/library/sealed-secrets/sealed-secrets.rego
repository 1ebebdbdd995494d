# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Sealed Secrets unseals the Secrets of its SealedSecrets
# description: >-
#   The keys that a SealedSecret seals, in the Secret of the same name.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["*:sealed-secrets-controller", "*:sealed-secrets"]
#     about: the service accounts that the controller runs under
#   knows:
#   - accounts: ["*:sealed-secrets*"]
#     managers: [controller]
#     kinds: [Secret]
#     paths: [data, metadata.labels, metadata.annotations]
package library.sealed_secrets

import data.mainstay.lib

# METADATA
# title: The Secret of a SealedSecret
exception contains {
	"reason": "the SealedSecret holds these values",
	"paths": [change.path | some change in input.changes; sealed(change)],
	"record": false,
} if {
	input.kind.kind == "Secret"
	input.kind.group == ""
	data.cluster["bitnami.com"].SealedSecret[input.namespace][input.name]
	managed
	some change in input.changes
	sealed(change)
	by_controller
}

sealed(change) if {
	change.segments[0] == "data"
	change.segments[1] in keys
}

# Labels and annotations of the template are copied into the Secret. The values of
# a Secret's annotations are hashed, so of those only the key is compared.
sealed(change) if {
	array.slice(change.segments, 0, 2) == ["metadata", "annotations"]
	template.annotations[change.segments[2]]
}

sealed(change) if {
	array.slice(change.segments, 0, 2) == ["metadata", "labels"]
	change.to == template.labels[change.segments[2]]
}

template := data.cluster["bitnami.com"].SealedSecret[input.namespace][input.name].spec.template.metadata

keys contains key if {
	some key, _ in data.cluster["bitnami.com"].SealedSecret[input.namespace][input.name].spec.encryptedData
}

keys contains key if {
	some key, _ in data.cluster["bitnami.com"].SealedSecret[input.namespace][input.name].spec.template.data
}

# The controller writes into a Secret that it did not make only where the Secret
# asks for it, see bitnami-labs/sealed-secrets, pkg/controller/controller.go. Of a
# Secret the values of annotations are hashed: that it is "true" can't be seen.
managed if {
	some mark in ["managed", "patch"]
	input.oldObject.metadata.annotations[sprintf("sealedsecrets.bitnami.com/%s", [mark])]
}

by_controller if input.origin == "drift"

by_controller if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["*:sealed-secrets-controller", "*:sealed-secrets"])

default settings := {}

settings := data.parameters["sealed-secrets"]
