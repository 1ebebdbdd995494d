// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/reload"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// policiesResult is what became of a GitSync's policies.
type policiesResult struct {
	err     error
	message string
	// carried tells that a ChangePolicy carries them to every replica.
	carried bool
}

// holds is a failure where a commit has to wait for its policies.
func (r policiesResult) holds(gs *v1alpha1.GitSync) error {
	if r.err == nil || gs.Spec.Policies.OnFailure != v1alpha1.OnFailureHoldCommit {
		return nil
	}
	return &failure{"PoliciesFailed", fmt.Errorf("the commit waits for its policies (spec.policies.onFailure: HoldCommit): %w", r.err)}
}

// loadPolicies compiles and tests the policies of a commit and hands them to
// the other replicas as a ChangePolicy. A set that fails changes nothing and,
// unless the GitSync wants it so, keeps no commit from being applied: git's way
// to production does not depend on an unrelated file.
func (l *Loop) loadPolicies(ctx context.Context, gs *v1alpha1.GitSync, snapshot source.Snapshot) policiesResult {
	modules, err := policyModules(snapshot.FS, gs.Spec.Policies.Paths)
	if err != nil {
		return policiesResult{err: err}
	}
	key := client.ObjectKeyFromObject(gs)
	if len(gs.Spec.Policies.Exceptions) > 0 {
		text, err := policy.CompileExceptions(key.String(), gs.Spec.Policies.Exceptions)
		if err != nil {
			return policiesResult{err: fmt.Errorf("spec.policies.exceptions: %w", err)}
		}
		modules["mainstay-exceptions.rego"] = text
	}
	s := policy.RepositorySource(key, l.o.Namespace, modules)
	s.Library, s.Parameters = gs.Spec.Policies.Library, gs.Spec.Policies.Parameters
	if len(modules) == 0 && len(s.Library) == 0 && len(s.Parameters) == 0 {
		l.Policies.Unload(policy.GitSyncSource(key))
		if err := l.dropPolicies(ctx, gs); err != nil {
			return policiesResult{err: err}
		}
		return policiesResult{message: "no policies of its own"}
	}
	loaded, err := l.Policies.Load(ctx, s)
	if err != nil {
		return policiesResult{err: err}
	}
	if err := l.writePolicies(ctx, gs, s); err != nil {
		return policiesResult{err: err}
	}
	message := fmt.Sprintf("%d rules in force, %d tests passed", len(loaded.Rules), loaded.Tests)
	if len(s.Library) > 0 {
		message += "; library: " + strings.Join(s.Library, ", ")
	}
	return policiesResult{message: message, carried: true}
}

// policyModules reads the Rego files of the policy folders, by path. Hidden
// folders below them are left out, as mainstay policy does it.
func policyModules(tree fs.FS, folders []string) (map[string]string, error) {
	modules := map[string]string{}
	for _, folder := range folders {
		root := path.Clean(folder)
		err := fs.WalkDir(tree, root, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && name != root:
				return fs.SkipDir // .regal, for example, has rules that are no policies
			case entry.IsDir() || !strings.HasSuffix(name, ".rego"):
				return nil
			}
			content, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			modules[name] = string(content)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read policy folder %s: %w", folder, err)
		}
	}
	return modules, nil
}

// policyObject is the name of the ChangePolicy that carries a GitSync's own
// policies to every replica.
func policyObject(gs *v1alpha1.GitSync) *v1alpha1.ChangePolicy {
	return &v1alpha1.ChangePolicy{ObjectMeta: metav1.ObjectMeta{
		Namespace: gs.Namespace, Name: v1alpha1.GitSyncPolicyPrefix + gs.Name,
	}}
}

func (l *Loop) writePolicies(ctx context.Context, gs *v1alpha1.GitSync, s policy.Source) error {
	cp := policyObject(gs)
	err := l.Client.Get(ctx, client.ObjectKeyFromObject(cp), cp)
	exists := err == nil
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get change policy %s: %w", cp.Name, err)
	}
	key := client.ObjectKeyFromObject(gs)
	wanted := v1alpha1.ChangePolicySpec{Modules: s.Modules, Library: s.Library, Parameters: s.Parameters}
	// The seal tells whether it is the same: the API server may write parameters
	// in another way.
	if exists && reload.SameModules(l.Key, key, cp, wanted) {
		return nil
	}
	cp.Spec = wanted
	if err := reload.SealModules(l.Key, key, cp); err != nil {
		return err
	}
	if cp.Labels == nil {
		cp.Labels = map[string]string{}
	}
	cp.Labels[v1alpha1.FromLabel] = gs.Name
	if err := controllerutil.SetControllerReference(gs, cp, l.Client.Scheme()); err != nil {
		return fmt.Errorf("own change policy %s: %w", cp.Name, err)
	}
	if exists {
		err = l.Client.Update(ctx, cp)
	} else {
		err = l.Client.Create(ctx, cp)
	}
	if err != nil {
		return fmt.Errorf("write change policy %s: %w", cp.Name, err)
	}
	return nil
}

func (l *Loop) dropPolicies(ctx context.Context, gs *v1alpha1.GitSync) error {
	cp := policyObject(gs)
	if err := client.IgnoreNotFound(l.Client.Delete(ctx, cp)); err != nil {
		return fmt.Errorf("delete change policy %s: %w", cp.Name, err)
	}
	return nil
}
