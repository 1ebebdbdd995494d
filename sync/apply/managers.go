// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fastjson"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// managerRetries bounds how often managedFields are written anew because
// somebody wrote the object in between.
const managerRetries = 8

// deployers are the field managers of what applied manifests before Mainstay
// did. Whatever kubectl calls itself counts as well.
var deployers = []string{
	"before-first-apply", "helm", "helm-controller", "argocd-controller", "argocd-application-controller",
	"kustomize-controller", "configsync", "fleetagent", "kapp-server", "kapp-controller", "Terraform", "pulumi-kubernetes", "flux", "flux-client-side-apply",
}

// Deployer tells whether a field manager is one that applies manifests for
// people, so that what it applied is git's from the day on which git declares
// it.
func Deployer(manager string) bool {
	return manager == "kubectl" || strings.HasPrefix(manager, "kubectl-") || slices.Contains(deployers, manager)
}

// TakeOver takes the fields that answer says are Mainstay's from the deployers
// that own them as well: what leaves git later leaves the cluster. What they
// set beside stays theirs.
func (a *Applier) TakeOver(ctx context.Context, t Target, answer *Answer) error {
	return a.rewrite(ctx, t, answer.object, func(object *fastjson.Value) ([]patchOp, error) {
		ours := fieldset.AppliedBy(object, v1alpha1.FieldManager)
		if ours == nil {
			return nil, nil
		}
		var kept []*fastjson.Value
		taken := false
		for _, e := range object.GetArray("metadata", "managedFields") {
			fields := e.Get("fieldsV1")
			if fields != nil && Deployer(string(e.GetStringBytes("manager"))) && string(e.GetStringBytes("subresource")) != "status" {
				taken = fieldset.Relieve(fields, ours) || taken
				if fields.GetObject().Len() == 0 {
					continue
				}
			}
			kept = append(kept, e)
		}
		if !taken {
			return nil, nil
		}
		return []patchOp{managed(kept)}, nil
	})
}

// Disown gives up fields without changing them: whoever else owns them keeps
// them, and the next apply that does not set them leaves them alone. live is
// the object as it was judged; another one in the cluster is a conflict. It
// returns the resourceVersion that the object has then.
func (a *Applier) Disown(ctx context.Context, t Target, live []byte, paths []fieldset.Path) (string, error) {
	object, err := fastjson.ParseBytes(live)
	if err != nil {
		return "", fmt.Errorf("parse live object: %w", err)
	}
	version := string(object.GetStringBytes("metadata", "resourceVersion"))
	ours := fieldset.AppliedBy(object, v1alpha1.FieldManager)
	given := false
	for _, path := range paths {
		if ours != nil && fieldset.Touches(ours, path) {
			fieldset.Disown(ours, path)
			given = true
		}
	}
	if !given {
		return version, nil
	}
	patch, err := encodePatch(object, []patchOp{managed(object.GetArray("metadata", "managedFields"))})
	if err != nil {
		return "", err
	}
	raw, err := a.patch(ctx, t, patch)
	return fastjson.GetString(raw, "metadata", "resourceVersion"), err
}

// Release takes Mainstay's marks off an object that it lets go: the ownership
// label, if it has that value, and what it owns in managedFields. The object
// stays as it is. One that is gone, or that has the label of another owner by
// now, is not an error.
func (a *Applier) Release(ctx context.Context, t Target, label string) error {
	err := a.rewrite(ctx, t, nil, func(object *fastjson.Value) ([]patchOp, error) {
		var ops []patchOp
		switch value := string(object.GetStringBytes("metadata", "labels", v1alpha1.SyncLabel)); value {
		case label:
			ops = append(ops, patchOp{Op: "remove", Path: "/metadata/labels/" + fieldset.EscapePointer(v1alpha1.SyncLabel)})
		case "":
		default:
			return nil, nil
		}
		var kept []*fastjson.Value
		entries := object.GetArray("metadata", "managedFields")
		for _, e := range entries {
			if string(e.GetStringBytes("manager")) != v1alpha1.FieldManager {
				kept = append(kept, e)
			}
		}
		if len(kept) < len(entries) {
			ops = append(ops, managed(kept))
		}
		return ops, nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// managed is the operation that makes entries the managedFields. An empty list
// would change nothing; one empty entry makes them empty.
func managed(entries []*fastjson.Value) patchOp {
	value := []byte{'['}
	for i, e := range entries {
		if i > 0 {
			value = append(value, ',')
		}
		value = fieldset.Canonical(value, e)
	}
	if len(entries) == 0 {
		value = append(value, '{', '}')
	}
	return patchOp{Op: "replace", Path: "/metadata/managedFields", Value: append(value, ']')}
}

// rewrite patches an object by what operations makes of it, again where
// somebody wrote it in between. It is read unless it is given.
func (a *Applier) rewrite(ctx context.Context, t Target, object *fastjson.Value, operations func(*fastjson.Value) ([]patchOp, error)) error {
	for try := 0; ; try++ {
		if object == nil || try > 0 {
			raw, err := a.Get(ctx, t)
			if err != nil {
				return err
			}
			if object, err = fastjson.ParseBytes(raw); err != nil {
				return fmt.Errorf("parse live object: %w", err)
			}
		} else {
			// A copy, because the answer is read again.
			var err error
			if object, err = fastjson.ParseBytes(fieldset.Canonical(nil, object)); err != nil {
				return fmt.Errorf("parse answer: %w", err)
			}
		}
		ops, err := operations(object)
		if err != nil || len(ops) == 0 {
			return err
		}
		patch, err := encodePatch(object, ops)
		if err != nil {
			return err
		}
		if _, err = a.patch(ctx, t, patch); !apierrors.IsConflict(err) || try == managerRetries {
			return err
		}
	}
}

// encodePatch puts a test of the object's resourceVersion before operations.
func encodePatch(object *fastjson.Value, ops []patchOp) ([]byte, error) {
	version, err := json.Marshal(string(object.GetStringBytes("metadata", "resourceVersion")))
	if err != nil {
		return nil, fmt.Errorf("encode resourceVersion: %w", err)
	}
	ops = append([]patchOp{{Op: "test", Path: "/metadata/resourceVersion", Value: version}}, ops...)
	patch, err := json.Marshal(ops)
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	return patch, nil
}
