// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// ownChangePolicy guards the policies that come from repositories, and keeps a
// ChangePolicy that does not load from being stored: it would lose its denials
// at the next restart.
func (h *Handler) ownChangePolicy(ctx context.Context, req *request) finding {
	if _, ok := v1alpha1.GitSyncOfPolicy(req.id.Name); ok {
		if req.username() == h.options.SyncAccount || req.operation == policy.Delete && !h.followed(req) {
			return finding{fine: true}
		}
		return finding{reason: "it comes from the repository of a GitSync: change the policies there"}
	}
	if req.operation == policy.Delete || h.options.CheckPolicies == nil {
		return finding{}
	}
	if req.oldObject != nil && fieldset.Equal(req.object.Get("spec"), req.oldObject.Get("spec")) {
		return finding{}
	}
	var spec v1alpha1.ChangePolicySpec
	if given := req.object.Get("spec"); given != nil {
		if err := json.Unmarshal(given.MarshalTo(nil), &spec); err != nil {
			return finding{reason: "spec can't be read: " + err.Error()}
		}
	}
	key := types.NamespacedName{Namespace: req.id.Namespace, Name: req.id.Name}
	return unloadable(h.options.CheckPolicies(ctx, policy.Source{
		Key: policy.ChangePolicySource(key), Modules: spec.Modules, Library: spec.Library, Parameters: spec.Parameters,
	}))
}

// unloadable words why policies do not load.
func unloadable(err error) finding {
	var load *policy.LoadError
	switch {
	case err == nil:
		return finding{}
	case errors.As(err, &load) && len(load.Items) > 0:
		f := finding{reason: "the policies do not load"}
		for i, problem := range load.Items {
			if i == 5 {
				f.reason += fmt.Sprintf("\n  … and %d more", len(load.Items)-i)
				break
			}
			f.reason += "\n  " + problem.String()
		}
		return f
	}
	return finding{
		reason: "the policies could not be compiled and tested in the time of a request: " + err.Error(),
		next:   "try again; tests that take long belong into the repository's policy folder",
		code:   http.StatusServiceUnavailable,
	}
}

// followed tells whether that GitSync holds anything; when it is deleted, the
// garbage collector takes its ChangePolicy.
func (h *Handler) followed(req *request) bool {
	name, _ := v1alpha1.GitSyncOfPolicy(req.id.Name)
	_, ok := h.options.Index.Sync(types.NamespacedName{Namespace: req.id.Namespace, Name: name})
	return ok
}
