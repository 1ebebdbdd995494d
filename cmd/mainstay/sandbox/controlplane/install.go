// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldManager owns what Install writes.
const fieldManager = "mainstay-sandbox"

// Install applies the objects in their order. It returns when they are stored
// and the API server serves the kinds that they define. Installing the same
// twice is no error.
func Install(ctx context.Context, config *rest.Config, objects []*unstructured.Unstructured) error {
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NoWarnings{} // Nobody reads them here.
	c, err := client.New(config, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		return fmt.Errorf("install: %w", err)
	}
	var definitions []*unstructured.Unstructured
	for _, object := range objects {
		object = object.DeepCopy() // Apply writes the answer into it.
		isDefinition := object.GetKind() == "CustomResourceDefinition"
		if !isDefinition {
			// What follows may be of the kinds defined so far.
			if err := awaitEstablished(ctx, c, definitions); err != nil {
				return err
			}
			definitions = nil
		}
		err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(fieldManager), client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("install %s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if isDefinition {
			definitions = append(definitions, object)
		}
	}
	return awaitEstablished(ctx, c, definitions)
}

func awaitEstablished(ctx context.Context, c client.Client, definitions []*unstructured.Unstructured) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, definition := range definitions {
		for {
			if err := c.Get(ctx, client.ObjectKeyFromObject(definition), definition); err != nil {
				return fmt.Errorf("await CustomResourceDefinition %s: %w", definition.GetName(), err)
			}
			if ok, err := established(definition); err != nil {
				return err
			} else if ok {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("await CustomResourceDefinition %s: %w", definition.GetName(), context.Cause(ctx))
			case <-tick.C:
			}
		}
	}
	return nil
}

func established(definition *unstructured.Unstructured) (bool, error) {
	found, _, err := unstructured.NestedFieldNoCopy(definition.Object, "status", "conditions")
	if err != nil {
		return false, err
	}
	conditions, ok := found.([]any)
	if !ok {
		return false, nil // null or absent: the API server has not come to it yet
	}
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		if !ok {
			return false, errors.New("a condition is no object")
		}
		if condition["type"] == "Established" && condition["status"] == "True" {
			return true, nil
		}
	}
	return false, nil
}

// MayDoEverything binds the group Developers to cluster-admin, so that what
// its people are refused is refused by Mainstay and by nothing else.
func MayDoEverything() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1",
		"kind":       "ClusterRoleBinding",
		"metadata":   map[string]any{"name": Developers},
		"roleRef": map[string]any{
			"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin",
		},
		"subjects": []any{map[string]any{
			"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": Developers,
		}},
	}}
}
