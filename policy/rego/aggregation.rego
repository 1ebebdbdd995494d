# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package aggregation

import data.mainstay.lib

# METADATA
# title: The rules of an aggregated ClusterRole are the API server's
# description: Only while git, too, says that the role is an aggregated one.
exception contains {
	"reason": "the rules of an aggregated ClusterRole are put together by a controller",
	"paths": ["rules"],
	"record": false,
} if {
	input.kind.group == "rbac.authorization.k8s.io"
	input.kind.kind == "ClusterRole"
	input.oldObject.aggregationRule
	by_controller
	some change in input.changes
	change.segments[0] == "rules"
}

by_controller if input.origin == "drift"

by_controller if lib.by_service_account("kube-system", "clusterrole-aggregation-controller")
