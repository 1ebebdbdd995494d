# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Crossplane fills in what the provider decided
# description: >-
#   Fields of spec.forProvider and spec.initProvider that git does not set, and the
#   references by which Crossplane ties its objects together. What git sets is
#   never touched, so drift is judged as the request was.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["crossplane-system:*", "upbound-system:*"]
#     about: the service accounts of Crossplane and its providers, whose names are generated
#   knows:
#   - accounts: ["crossplane-system:*", "upbound-system:*"]
#     managers: [crossplane*, provider, "apiextensions.crossplane.io/*", "managed.crossplane.io/*"]
#     kinds: ["*"]
#     paths: [spec, metadata.annotations, metadata.labels, metadata.finalizers]
package library.crossplane

import data.mainstay.lib

# METADATA
# title: Late initialisation, where git sets nothing
exception contains {
	"reason": "the provider decided what git leaves open",
	"paths": [change.path | some change in input.changes; late(change)],
	"record": false,
} if {
	input.oldObject.spec.forProvider
	some change in input.changes
	late(change)
	by_crossplane
}

# METADATA
# title: The references and marks of Crossplane
exception contains {
	"reason": "Crossplane ties its objects together",
	"paths": [change.path | some change in input.changes; tied(change)],
	"record": false,
} if {
	some change in input.changes
	tied(change)
	by_crossplane
}

late(change) if {
	change.op == "add"
	not change.declared
	change.segments[0] == "spec"
	change.segments[1] in {"forProvider", "initProvider"}
	count(change.segments) > 2
}

# The annotations and labels that Crossplane sets itself, see crossplane/crossplane-runtime,
# pkg/meta/meta.go and pkg/xcrd. Those by which people steer it, crossplane.io/paused
# among them, are not here.
tied(change) if {
	not change.declared
	array.slice(change.segments, 0, 2) == ["metadata", "annotations"]
	change.segments[2] in {
		"crossplane.io/composition-resource-name",
		"crossplane.io/external-create-failed",
		"crossplane.io/external-create-pending",
		"crossplane.io/external-create-succeeded",
		"crossplane.io/external-name",
	}
}

tied(change) if {
	not change.declared
	array.slice(change.segments, 0, 2) == ["metadata", "labels"]
	change.segments[2] in {
		"crossplane.io/claim-name",
		"crossplane.io/claim-namespace",
		"crossplane.io/composite",
	}
}

tied(change) if {
	not change.declared
	change.segments[0] == "spec"
	change.segments[1] in {
		"claimRef",
		"compositionRef",
		"compositionRevisionRef",
		"resourceRef",
		"resourceRefs",
	}
}

tied(change) if {
	not change.declared
	array.slice(change.segments, 0, 2) == ["spec", "crossplane"]
	change.segments[2] in {"compositionRef", "compositionRevisionRef", "resourceRefs"}
}

by_crossplane if input.origin == "drift"

by_crossplane if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["crossplane-system:*", "upbound-system:*"])

default settings := {}

settings := data.parameters.crossplane
