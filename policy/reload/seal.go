// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"bytes"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// sealAnnotation on a ChangePolicy from a repository carries its seal.
const sealAnnotation = "mainstay.dev/seal"

// SealModules marks a ChangePolicy as written by Mainstay from the repository
// of the GitSync sync: its modules, what it takes from the library, and the
// parameters.
func SealModules(key *seal.Key, sync types.NamespacedName, cp *v1alpha1.ChangePolicy) error {
	data, err := payload(sync, cp)
	if err != nil {
		return err
	}
	if cp.Annotations == nil {
		cp.Annotations = map[string]string{}
	}
	cp.Annotations[sealAnnotation] = key.Seal("changepolicy", data)
	return nil
}

// SameModules tells whether SealModules marked a ChangePolicy for that GitSync
// when it was as wanted, and it still is.
func SameModules(key *seal.Key, sync types.NamespacedName, cp *v1alpha1.ChangePolicy, wanted v1alpha1.ChangePolicySpec) bool {
	if VerifyModules(key, sync, cp) != nil {
		return false
	}
	have, err := payload(sync, cp)
	if err != nil {
		return false
	}
	want, err := payload(sync, &v1alpha1.ChangePolicy{Spec: wanted})
	return err == nil && bytes.Equal(have, want)
}

// VerifyModules returns an error that wraps seal.ErrSeal unless SealModules
// marked exactly these modules for that GitSync.
func VerifyModules(key *seal.Key, sync types.NamespacedName, cp *v1alpha1.ChangePolicy) error {
	data, err := payload(sync, cp)
	if err != nil {
		return err
	}
	if err := key.Verify("changepolicy", data, cp.Annotations[sealAnnotation]); err != nil {
		return fmt.Errorf("change policy %s/%s: %w; a name that starts with %s is for policies from a repository",
			cp.Namespace, cp.Name, err, v1alpha1.GitSyncPolicyPrefix)
	}
	return nil
}

func payload(sync types.NamespacedName, cp *v1alpha1.ChangePolicy) ([]byte, error) {
	modules := cp.Spec.Modules
	if modules == nil {
		modules = map[string]string{} // the API server leaves an empty map out
	}
	all := map[string]any{"sync": sync.String(), "modules": modules}
	if len(cp.Spec.Library) > 0 {
		all["library"] = cp.Spec.Library
	}
	if len(cp.Spec.Parameters) > 0 {
		// Decoded: the API server need not keep how they were written.
		values, err := cp.Spec.Parameters.Values()
		if err != nil {
			return nil, err
		}
		all["parameters"] = values
	}
	// encoding/json sorts the keys.
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode modules: %w", err)
	}
	return data, nil
}
