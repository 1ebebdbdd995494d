# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package machinery

import data.mainstay.lib

# METADATA
# title: An object that is being deleted may go
# description: >-
#   Its deletion was judged when it was asked for; deleting it again, and taking
#   its finalizers off, only finishes it.
exception contains {"reason": "the object is being deleted"} if {
	input.operation == "DELETE"
	input.oldObject.metadata.deletionTimestamp
}

exception contains {
	"reason": "the object is being deleted, and this finalizer is done",
	"paths": [change.path | some change in input.changes; finalizer_removed(change)],
	"record": false,
} if {
	input.operation == "UPDATE"
	input.object.metadata.deletionTimestamp
	some change in input.changes
	finalizer_removed(change)
}

finalizer_removed(change) if {
	array.slice(change.segments, 0, 2) == ["metadata", "finalizers"]
	change.op == "remove"
}

# A list whose structure nobody knows changes as a whole.
finalizer_removed(change) if {
	change.segments == ["metadata", "finalizers"]
	change.op == "replace"
	is_array(change.to)
	every finalizer in change.to { finalizer in change.from }
}

# METADATA
# title: A Job that has run to its end is collected when it says so
# description: The sync loop does not make it again until git changes it.
exception contains {"reason": "the Job has run to its end, and says when it is collected"} if {
	input.operation == "DELETE"
	input.kind.group == "batch"
	input.kind.kind == "Job"
	input.oldObject.spec.ttlSecondsAfterFinished >= 0
	some condition in input.oldObject.status.conditions
	condition.type in {"Complete", "Failed"}
	condition.status == "True"
	by_ttl_controller
}

by_ttl_controller if lib.by_service_account("kube-system", "ttl-after-finished-controller")

by_ttl_controller if lib.by_user("system:kube-controller-manager")

# METADATA
# title: The revision of a Deployment is counted by its controller
# description: It writes it by way of the status, whatever enforcement.undeclared says.
exception contains {
	"reason": "the deployment controller counts revisions",
	"paths": [revision],
	"record": false,
} if {
	input.kind.group == "apps"
	input.kind.kind == "Deployment"
	some change in input.changes
	change.path == revision
	not change.declared
	regex.match(`^\d+$`, change.to)
	by_deployment_controller
}

revision := `metadata.annotations["deployment.kubernetes.io/revision"]`

by_deployment_controller if input.origin == "drift"

by_deployment_controller if lib.by_service_account("kube-system", "deployment-controller")
