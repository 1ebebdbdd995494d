// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPathsAreTheLeavesOfASet(t *testing.T) {
	set, err := ParseSet([]byte(`{
		"f:metadata":{"f:annotations":{".":{},"f:example.org/a":{}},"f:finalizers":{"v:\"x\"":{}}},
		"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{},
			"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`metadata.annotations["example.org/a"]`, `metadata.finalizers[="x"]`, "spec.replicas",
		"spec.template.spec.containers[name=web].image",
		"spec.template.spec.containers[name=web].ports[containerPort=80,protocol=TCP].containerPort",
	}
	var got []string
	for _, p := range set.Paths() {
		got = append(got, p.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if none := (*Set)(nil).Paths(); none != nil {
		t.Errorf("the empty set has %v", none)
	}
}
