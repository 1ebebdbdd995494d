# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# title: Linkerd marks what its injector has passed
# description: >-
#   Annotations and labels that Linkerd's injector leaves on pods and Services, and
#   the label of an extension's namespace. Keys and values are bound, so drift is
#   judged as the request was.
# custom:
#   parameters:
#   - name: accounts
#     shape: [account]
#     default: ["linkerd-*:namespace-metadata"]
#     about: the service accounts of the jobs that label the namespaces of Linkerd's extensions
#   knows:
#   - accounts: ["*:namespace-metadata"]
#     kinds: [Namespace]
#     paths: [metadata.labels, metadata.annotations]
package library.linkerd

import data.mainstay.lib

# METADATA
# title: The namespace of an extension says so
exception contains {
	"reason": "this is the namespace of an extension of Linkerd",
	"paths": [change.path | some change in input.changes; extension(change)],
	"record": false,
} if {
	input.kind.kind == "Namespace"
	input.kind.group == ""
	startswith(input.name, "linkerd-")
	some change in input.changes
	extension(change)
	by_extension
}

# METADATA
# title: What the injector leaves on pods, in the name of whoever made the write
exception contains {
	"reason": "Linkerd marks what it injects into",
	"paths": [change.path | some change in input.changes; injected(change)],
	"record": false,
} if {
	input.kind.kind == "Pod"
	input.kind.group == ""
	input.namespaceObject.annotations["linkerd.io/inject"] in {"enabled", "ingress"}
	some change in input.changes
	injected(change)
}

# METADATA
# title: The ports of a Service that Linkerd leaves alone
exception contains {
	"reason": "Linkerd marks ports that it does not look into",
	"paths": [change.path | some change in input.changes; opaque(change)],
	"record": false,
} if {
	input.kind.kind == "Service"
	input.kind.group == ""
	some change in input.changes
	opaque(change)
}

# The keys are those of linkerd/linkerd2, pkg/k8s/labels.go.
injected(change) if annotation(change) in {
	"linkerd.io/created-by",
	"linkerd.io/proxy-version",
	"linkerd.io/trust-root-sha256",
	"viz.linkerd.io/tap-enabled",
}

injected(change) if {
	not change.declared
	array.slice(change.segments, 0, 2) == ["metadata", "labels"]
	change.segments[2] in {"linkerd.io/control-plane-ns", "linkerd.io/workload-ns"}
	change.to in {"linkerd", input.namespace}
}

# The injector copies the namespace's settings, see AppendNamespaceAnnotations in
# pkg/inject/inject.go.
injected(change) if {
	regex.match(`^(config(\.alpha|\.beta)?\.linkerd\.io/|linkerd\.io/inject$)`, annotation(change))
	change.to == input.namespaceObject.annotations[annotation(change)]
}

injected(change) if opaque(change)

opaque(change) if {
	annotation(change) == "config.linkerd.io/opaque-ports"
	change.to == input.namespaceObject.annotations["config.linkerd.io/opaque-ports"]
}

# Without a value of the namespace, some of those of
# charts/linkerd-control-plane/values.yaml.
opaque(change) if {
	annotation(change) == "config.linkerd.io/opaque-ports"
	not input.namespaceObject.annotations["config.linkerd.io/opaque-ports"]
	every port in split(change.to, ",") {
		port in {"25", "587", "3306", "4444", "5432", "6379", "9300", "11211"}
	}
}

# See linkerd/linkerd2, EXTENSIONS.md and viz/charts/linkerd-viz/templates/namespace-metadata.yaml.
extension(change) if {
	not change.declared
	change.segments == ["metadata", "labels", "linkerd.io/extension"]
	change.to == trim_prefix(input.name, "linkerd-")
}

# The key of an annotation that git does not set.
annotation(change) := change.segments[2] if {
	not change.declared
	array.slice(change.segments, 0, 2) == ["metadata", "annotations"]
}

by_extension if input.origin == "drift"

by_extension if lib.by_account(accounts)

accounts := object.get(settings, "accounts", ["linkerd-*:namespace-metadata"])

default settings := {}

settings := data.parameters.linkerd
