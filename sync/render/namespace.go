// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Settle gives every namespaced object its namespace: target where it is given,
// whatever the manifest says; else what the manifest says, or its Default. A
// subject of a RoleBinding or ClusterRoleBinding that is a ServiceAccount among
// the objects moves along with it; nothing else that refers to a namespace does.
// namespaced tells whether an object's kind has one, if that is known; the
// others stay as they are. The objects that are passed are not changed.
//
// Two objects that become the same one are an error that names both places.
func Settle(objects []Object, target string, namespaced func(*Object) (namespaced, known bool)) ([]Object, error) {
	settled := make([]Object, len(objects))
	moved := map[types.NamespacedName]bool{}
	for i, o := range objects {
		settled[i] = o
		in, known := namespaced(&o)
		want := o.ID.Namespace
		switch {
		case !known || !in:
			continue
		case target != "":
			want = target
		case want == "":
			want = o.Default
		}
		if want == o.ID.Namespace {
			continue
		}
		if o.ID.Group == "" && o.ID.Kind == "ServiceAccount" {
			moved[types.NamespacedName{Namespace: o.ID.Namespace, Name: o.ID.Name}] = true
		}
		settled[i].Unstructured = o.DeepCopy()
		settled[i].SetNamespace(want)
		settled[i].ID.Namespace = want
	}
	if target != "" && len(moved) > 0 {
		for i := range settled {
			settled[i].follow(moved, target)
		}
	}
	problems := &problems{}
	checkTogether(settled, problems)
	if err := problems.join(); err != nil {
		return nil, err
	}
	return settled, nil
}

// follow moves the subjects of a binding along with their ServiceAccounts.
func (o *Object) follow(moved map[types.NamespacedName]bool, target string) {
	if o.ID.Group != "rbac.authorization.k8s.io" || o.ID.Kind != "RoleBinding" && o.ID.Kind != "ClusterRoleBinding" {
		return
	}
	subjects, ok := o.Object["subjects"].([]any)
	if !ok {
		return
	}
	changed := make([]any, len(subjects))
	some := false
	for i, subject := range subjects {
		changed[i] = subject
		m, ok := subject.(map[string]any)
		if !ok || text(m, "kind") != "ServiceAccount" || !moved[types.NamespacedName{Namespace: text(m, "namespace"), Name: text(m, "name")}] {
			continue
		}
		m = (&unstructured.Unstructured{Object: m}).DeepCopy().Object
		m["namespace"] = target
		changed[i], some = m, true
	}
	if some {
		o.Unstructured = o.DeepCopy()
		o.Object["subjects"] = changed
	}
}
