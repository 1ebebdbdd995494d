# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.crossplane_test

import data.library.crossplane
import data.mainstay.testing

provider := testing.service_account("crossplane-system", "provider-aws-1a2b3c")

bucket := {
	"kind": {"group": "s3.aws.upbound.io", "version": "v1beta1", "kind": "Bucket"},
	"oldObject": {"spec": {"forProvider": {"region": "eu-central-1"}}},
}

at(segments) := {"changes": [object.union(testing.added(concat(".", segments), "x"), {"segments": segments})]}

permitted(overrides) if {
	count(crossplane.exception) == 1 with input as testing.request(object.union_n([provider, bucket, overrides]))
}

test_late_initialisation if {
	permitted(at(["spec", "forProvider", "tags", "name"]))
	permitted(at(["spec", "initProvider", "acl"]))
	count(crossplane.exception) == 1 with input as testing.drift(object.union(bucket, at(["spec", "forProvider", "acl"])))
}

test_what_git_sets_is_gits if {
	declared := {"changes": [testing.change("spec.forProvider.region", "eu-central-1", "us-east-1")]}
	not permitted(declared)
	changed := {"changes": [object.union(testing.change("spec.forProvider.acl", "a", "b"), {"declared": false})]}
	not permitted(changed)
	not permitted(at(["spec", "forProvider"]))
	not permitted(at(["spec", "deletionPolicy"]))
}

test_references_and_marks if {
	permitted(at(["spec", "compositionRef"]))
	permitted(at(["spec", "crossplane", "resourceRefs"]))
	permitted(at(["metadata", "annotations", "crossplane.io/external-name"]))
	permitted(at(["metadata", "labels", "crossplane.io/composite"]))
	not permitted(at(["metadata", "annotations", "example.com/x"]))
}

test_nobody_pauses_it_as_drift if {
	i := object.union(bucket, at(["metadata", "annotations", "crossplane.io/paused"]))
	not permitted(i)
	count(crossplane.exception) == 0 with input as testing.drift(i)
}

test_only_managed_resources if {
	i := object.union_n([provider, {"oldObject": {"spec": {}}}, at(["spec", "forProvider", "acl"])])
	count(crossplane.exception) == 0 with input as testing.request(i)
}

test_only_crossplane_may_ask if {
	i := object.union(bucket, at(["spec", "forProvider", "acl"]))
	count(crossplane.exception) == 0 with input as testing.request(i)
	count(crossplane.exception) == 0 with input as testing.request(object.union(testing.service_account("shop", "x"), i))
}
