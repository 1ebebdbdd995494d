# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package machinery_test

import data.machinery
import data.mainstay.testing

dying := {"metadata": {"deletionTimestamp": "2026-11-23T11:59:00Z"}}

finalizer(op, name) := {"op": op, "path": sprintf("metadata.finalizers[=%q]", [name]), "segments": ["metadata", "finalizers", name], "declared": true}

test_deleting_again if {
	count(machinery.exception) == 1 with input as testing.deletion({"oldObject": dying})
	count(machinery.exception) == 0 with input as testing.deletion({})
}

test_a_finalizer_goes_while_deleting if {
	removed := {"changes": [finalizer("remove", "x")]}
	some e in machinery.exception with input as testing.request(object.union(removed, {"object": dying}))
	e.paths == [`metadata.finalizers[="x"]`]
	count(machinery.exception) == 0 with input as testing.request(removed)
}

test_no_finalizer_comes if {
	count(machinery.exception) == 0 with input as testing.request({"object": dying, "changes": [finalizer("add", "x")]})
}

list(from, to) := {"object": dying, "changes": [testing.change("metadata.finalizers", from, to)]}

test_a_list_may_only_shrink if {
	count(machinery.exception) == 1 with input as testing.request(list(["a", "b"], ["a"]))
	count(machinery.exception) == 0 with input as testing.request(list(["a", "b"], ["a", "c"]))
}

test_nothing_else_changes_while_deleting if {
	count(machinery.exception) == 0 with input as testing.request({"object": dying})
}

job(condition) := {
	"kind": {"group": "batch", "version": "v1", "kind": "Job"},
	"oldObject": {"spec": {"ttlSecondsAfterFinished": 0}, "status": {"conditions": [{"type": condition, "status": "True"}]}},
}

collector := testing.service_account("kube-system", "ttl-after-finished-controller")

test_a_job_that_has_ended_is_collected if {
	count(machinery.exception) == 1 with input as testing.deletion(object.union(job("Complete"), collector))
	count(machinery.exception) == 1 with input as testing.deletion(object.union(job("Failed"), collector))
	together := testing.user("system:kube-controller-manager", [])
	count(machinery.exception) == 1 with input as testing.deletion(object.union(job("Complete"), together))
}

test_no_other_job_is_collected if {
	count(machinery.exception) == 0 with input as testing.deletion(object.union(job("Suspended"), collector))
	count(machinery.exception) == 0 with input as testing.deletion(job("Complete"))
	stays := object.union(job("Complete"), {"oldObject": {"spec": {"ttlSecondsAfterFinished": null}}})
	count(machinery.exception) == 0 with input as testing.deletion(object.union(stays, collector))
	other := object.union(job("Complete"), {"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}})
	count(machinery.exception) == 0 with input as testing.deletion(object.union(other, collector))
}

revision(to) := {
	"sync": {"undeclared": "Reject"},
	"changes": [testing.added(`metadata.annotations["deployment.kubernetes.io/revision"]`, to)],
}

controller := testing.service_account("kube-system", "deployment-controller")

test_the_deployment_controller_counts_revisions if {
	count(machinery.exception) == 1 with input as testing.request(object.union(revision("3"), controller))
	count(machinery.exception) == 1 with input as testing.drift(revision("3"))
}

test_nobody_else_counts_revisions if {
	count(machinery.exception) == 0 with input as testing.request(revision("3"))
	count(machinery.exception) == 0 with input as testing.request(object.union(revision("x"), controller))
	declared := {"changes": [object.union(revision("3").changes[0], {"declared": true})]}
	count(machinery.exception) == 0 with input as testing.request(object.union_n([revision("3"), controller, declared]))
	other := {"kind": {"group": "apps", "version": "v1", "kind": "StatefulSet"}}
	count(machinery.exception) == 0 with input as testing.request(object.union_n([revision("3"), controller, other]))
}
