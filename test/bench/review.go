// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// The objects that the reviews are about.
const (
	ownNamespace = "mainstay-system"
	syncAccount  = "system:serviceaccount:mainstay-system:mainstay"
	syncName     = "shop"
	reviewSize   = 10600
)

type object = map[string]any

// deployment is one of a usual size: two containers with an environment,
// probes, resources and volumes.
func deployment(namespace, name string, variables int) object {
	id := ownership.ID{Group: "apps", Kind: "Deployment", Namespace: namespace, Name: name}
	head := &ownership.Sync{Namespace: ownNamespace, Name: syncName}
	environment := make([]any, 0, variables)
	for i := range variables {
		environment = append(environment, object{"name": fmt.Sprintf("SETTING_%02d", i), "value": strings.Repeat("v", 24)})
	}
	probe := object{
		"httpGet":       object{"path": "/healthz", "port": float64(8080), "scheme": "HTTP"},
		"periodSeconds": float64(10), "timeoutSeconds": float64(1), "successThreshold": float64(1), "failureThreshold": float64(3),
	}
	container := func(name, image string, environment []any) object {
		return object{
			"name": name, "image": image, "imagePullPolicy": "IfNotPresent",
			"env":           environment,
			"livenessProbe": probe,
			"resources": object{
				"requests": object{"cpu": "100m", "memory": "128Mi"}, "limits": object{"cpu": "1", "memory": "256Mi"},
			},
			"volumeMounts":           []any{object{"mountPath": "/etc/shop", "name": "settings"}},
			"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
		}
	}
	labels := object{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop"}
	declared := maps.Clone(labels)
	declared[v1alpha1.SyncLabel] = ownership.LabelValue(head.Key(), id)
	return object{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": object{"name": name, "namespace": namespace, "labels": declared},
		"spec": object{
			"replicas": float64(2), "progressDeadlineSeconds": float64(600), "revisionHistoryLimit": float64(10),
			"selector": object{"matchLabels": labels},
			"strategy": object{"type": "RollingUpdate", "rollingUpdate": object{"maxSurge": "25%", "maxUnavailable": "25%"}},
			"template": object{
				"metadata": object{"labels": labels},
				"spec": object{
					"containers": []any{
						container("web", "registry.example.org/shop/web:1.4.2", environment),
						container("proxy", "registry.example.org/shop/proxy:2.0.0", nil),
					},
					"volumes":       []any{object{"name": "settings", "configMap": object{"name": "settings", "defaultMode": float64(420)}}},
					"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
					"terminationGracePeriodSeconds": float64(30),
				},
			},
		},
	}
}

// fieldsOf is the FieldsV1 of a manager that sets all of an object.
func fieldsOf(value any) object {
	out := object{}
	switch v := value.(type) {
	case object:
		for key, child := range v {
			out["f:"+key] = fieldsOf(child)
		}
	case []any:
		for _, element := range v {
			o, ok := element.(object)
			if !ok || o["name"] == nil {
				return object{}
			}
			child := fieldsOf(element)
			child["."] = object{}
			key := "name"
			if o["mountPath"] != nil {
				key = "mountPath"
			}
			out[fmt.Sprintf("k:{%q:%q}", key, o[key])] = child
		}
	}
	return out
}

func declaredFields(o object) object {
	metadata, _ := o["metadata"].(object)
	fields := object{"f:metadata": object{"f:labels": fieldsOf(metadata["labels"])}}
	for _, key := range []string{"spec", "data"} {
		if o[key] != nil {
			fields["f:"+key] = fieldsOf(o[key])
		}
	}
	return fields
}

// live is the object as the API server keeps it.
func live(o object) object {
	o = clone(o)
	metadata, _ := o["metadata"].(object)
	metadata["uid"], metadata["resourceVersion"] = "6f1c0d3e-9f3c-4a80-a8a3-0d9b5f6f1f11", "48211"
	metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
	applied := object{
		"manager": v1alpha1.FieldManager, "operation": "Apply", "apiVersion": o["apiVersion"], "time": "2026-01-01T00:00:00Z",
		"fieldsType": "FieldsV1", "fieldsV1": declaredFields(o),
	}
	metadata["managedFields"] = []any{applied}
	if o["spec"] == nil {
		return o
	}
	// What its controller adds.
	o["status"] = object{
		"observedGeneration": float64(4), "replicas": float64(2), "readyReplicas": float64(2), "availableReplicas": float64(2),
		"conditions": []any{object{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "lastUpdateTime": "2026-01-01T00:00:00Z"}},
	}
	metadata["generation"] = float64(4)
	metadata["annotations"] = object{"deployment.kubernetes.io/revision": "4"}
	metadata["managedFields"] = []any{
		applied,
		object{
			"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
			"fieldsType": "FieldsV1", "subresource": "status",
			"fieldsV1": object{
				"f:metadata": object{"f:annotations": object{".": object{}, "f:deployment.kubernetes.io/revision": object{}}},
				"f:status":   fieldsOf(o["status"]),
			},
		},
	}
	return o
}

// review is an update by alice, who is a person.
func review(before, after object) []byte {
	metadata, _ := after["metadata"].(object)
	resource := object{"group": "apps", "version": "v1", "resource": "deployments"}
	kind := object{"group": "apps", "version": "v1", "kind": "Deployment"}
	return encode(object{
		"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
		"request": object{
			"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": kind, "resource": resource,
			"requestKind": kind, "requestResource": resource,
			"name": metadata["name"], "namespace": metadata["namespace"], "operation": "UPDATE",
			"userInfo": object{"username": "alice", "groups": []any{"developers", "system:authenticated"}},
			"object":   after, "oldObject": before, "dryRun": false,
			"options": object{"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl-set"},
		},
	})
}

// reviews are the two that the budgets speak of, 10.6 KB each, and the object
// that they are about.
func reviews() (declared object, quiet, refused []byte) {
	for variables := 1; ; variables++ {
		declared = deployment("shop", "web", variables)
		before := live(declared)
		after := clone(before)
		set(after, float64(1), "status", "readyReplicas")
		set(after, "48290", "metadata", "resourceVersion")
		if quiet = review(before, after); len(quiet) < reviewSize {
			continue
		}
		changed := clone(before)
		set(changed, "registry.example.org/shop/web:9.9.9", "spec", "template", "spec", "containers", "0", "image")
		return declared, quiet, review(before, changed)
	}
}

// record is the inventory's line of an object that is held.
func record(o object) *ownership.Entry {
	metadata, _ := o["metadata"].(object)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	e := &ownership.Entry{
		ID:      ownership.ID{Group: "apps", Kind: "Deployment", Namespace: namespace, Name: name},
		Version: "v1", Resource: "deployments", Applied: content(o),
	}
	if o["kind"] == "ConfigMap" {
		e.Group, e.Kind, e.Resource = "", "ConfigMap", "configmaps"
	}
	return e
}

func content(o object) *ownership.Content {
	raw := encode(o)
	return &ownership.Content{
		Revision: ownership.Revision{Name: "main@sha1:a1b2c3d4", Commit: "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2", Author: "Bo", Time: time.Unix(1767225600, 0)},
		File:     "clusters/prod/web.yaml", Line: 1, Digest: "0", Desired: raw, Baseline: raw, Fields: encode(declaredFields(o)),
	}
}

func head() *ownership.Sync {
	return &ownership.Sync{
		Namespace: ownNamespace, Name: syncName, Mode: v1alpha1.ModeEnforce, Undeclared: v1alpha1.UndeclaredRejectPeople,
		Contact: "#shop-oncall", URL: "https://git.example.org/shop.git", Generation: 1,
		Applied: ownership.Revision{Name: "main@sha1:a1b2c3d4", Commit: "a1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4e5f6a1b2"},
	}
}

// policies are n packages that look at an image but do not permit a change of
// it: by exceptions that read the change alone, or half of them by denials that
// read the object as well, which has to be converted for them.
func policies(n int, objects bool) map[string]string {
	modules := make(map[string]string, n)
	for i := range n {
		rule := fmt.Sprintf(`exception contains {"reason": "the release job of team %[1]d", "paths": ["spec.template.spec.containers[*].image"]} if {
	input.kind.kind == "Deployment"
	input.namespace == "shop"
	input.userInfo.username == "system:serviceaccount:team-%[1]d:release"
	some change in input.changes
	startswith(change.to, "registry.example.org/")
}`, i)
		if objects && i%2 == 1 {
			rule = fmt.Sprintf(`deny contains {"reason": "no images of others in team %[1]d"} if {
	input.kind.kind == "Deployment"
	input.namespace == "team-%[1]d"
	some container in input.object.spec.template.spec.containers
	not startswith(container.image, "registry.example.org/")
}`, i)
		}
		modules[fmt.Sprintf("team%d/team%d.rego", i, i)] = fmt.Sprintf("package team%d\n\n%s\n", i, rule)
	}
	return modules
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // Made here, of nothing that JSON can't say.
	}
	return raw
}

func clone(o object) object {
	var out object
	if err := json.Unmarshal(encode(o), &out); err != nil {
		panic(err) // It was encoded just now.
	}
	return out
}

// set puts a value into an object; a number names an element of a list.
func set(at any, value any, path ...string) {
	for i, key := range path {
		last := i == len(path)-1
		switch v := at.(type) {
		case object:
			if last {
				v[key] = value
				return
			}
			at = v[key]
		case []any:
			at = v[slices.Index([]string{"0", "1", "2"}, key)]
		}
	}
}
