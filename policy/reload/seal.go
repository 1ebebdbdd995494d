// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// sealAnnotation on a ChangePolicy from a repository carries its seal.
const sealAnnotation = "mainstay.dev/seal"

// SealModules marks a ChangePolicy as written by Mainstay from the repository
// of the GitSync sync.
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
	// encoding/json sorts the keys.
	data, err := json.Marshal(map[string]any{"sync": sync.String(), "modules": cp.Spec.Modules})
	if err != nil {
		return nil, fmt.Errorf("encode modules: %w", err)
	}
	return data, nil
}
