// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/sync/loop"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/render/sops"
)

// render returns the objects, in their namespaces.
func (c *command) render(ctx context.Context, progress io.Writer) ([]render.Object, error) {
	root, below, err := repository(c.path)
	if err != nil {
		return nil, err
	}
	options, target, err := c.options(ctx, below)
	if err != nil {
		return nil, err
	}
	tree, done, err := c.tree(ctx, root)
	if err != nil {
		return nil, err
	}
	defer done()
	kind, err := render.TypeOf(tree, options)
	if err != nil {
		return nil, err
	}
	objects, err := render.Objects(ctx, tree, options)
	if err != nil {
		return nil, err
	}
	objects, err = render.Settle(objects, target, scopes(objects))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "%d objects, rendered as %s\n", len(objects), kind)
	return objects, nil
}

// options are the flags', or those of the GitSync.
func (c *command) options(ctx context.Context, below string) (render.Options, string, error) {
	var gs *v1alpha1.GitSync
	var err error
	var capabilities func(*render.Helm) error
	var keys *sops.Keys
	switch {
	case c.sync != "":
		gs, keys, capabilities, err = c.fromCluster(ctx)
	case c.file != "":
		gs, err = fromFile(c.file)
	default:
		o := render.Options{
			Path: below, SkipPaths: c.skip, Type: v1alpha1.RenderType(c.kind), Variables: c.variables,
			Helm: render.Helm{
				ReleaseName: c.releaseName, ValuesFiles: c.valuesFiles,
				Namespace: cmp.Or(c.helmNamespace, c.targetNamespace, "default"),
			},
		}
		o.Keys, err = c.readKeys()
		return o, c.targetNamespace, err
	}
	if err != nil {
		return render.Options{}, "", err
	}
	o, err := loop.RenderOptions(gs, c.system)
	if err != nil {
		return o, "", err
	}
	if capabilities != nil {
		if err := capabilities(&o.Helm); err != nil {
			return o, "", err
		}
	}
	if o.Keys = keys; len(c.keys) > 0 {
		o.Keys, err = c.readKeys()
	}
	return o, gs.Spec.TargetNamespace, err
}

func (c *command) readKeys() (*sops.Keys, error) {
	if len(c.keys) == 0 {
		return nil, nil //nolint:nilnil // nothing is decrypted
	}
	data := map[string][]byte{}
	for _, file := range c.keys {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		data[file] = content
	}
	keys, err := sops.NewKeys(data)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	return keys, nil
}

func fromFile(file string) (*v1alpha1.GitSync, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--file: %w", err)
	}
	gs := new(v1alpha1.GitSync)
	if err := yaml.UnmarshalStrict(content, gs); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if gs.Kind != "GitSync" {
		return nil, fmt.Errorf("%s holds no GitSync", file)
	}
	return gs, nil
}

// fromCluster reads the GitSync and, where the user may, its keys.
func (c *command) fromCluster(ctx context.Context) (*v1alpha1.GitSync, *sops.Keys, func(*render.Helm) error, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: c.context}).ClientConfig()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("find the cluster: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, nil, nil, err
	}
	cluster, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reach the cluster: %w", err)
	}
	key := types.NamespacedName{Namespace: cmp.Or(c.namespace, c.system), Name: c.sync}
	gs := new(v1alpha1.GitSync)
	if err := cluster.Get(ctx, key, gs); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil, nil, fmt.Errorf("there is no GitSync %s: \"kubectl get gitsync -A\" lists them", key)
		}
		return nil, nil, nil, fmt.Errorf("get gitsync %s: %w", key, err)
	}
	asked, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reach the cluster: %w", err)
	}
	capabilities := func(h *render.Helm) error { return loop.Capabilities(asked, h) }
	if gs.Spec.Render.Decryption == nil || len(c.keys) > 0 {
		return gs, nil, capabilities, nil
	}
	var secret corev1.Secret
	name := types.NamespacedName{Namespace: key.Namespace, Name: gs.Spec.Render.Decryption.SecretRef.Name}
	if err := cluster.Get(ctx, name, &secret); err != nil {
		return nil, nil, nil, fmt.Errorf("get the keys in secret %s: %w: give your own with --key", name, err)
	}
	keys, err := sops.NewKeys(secret.Data)
	return gs, keys, capabilities, err
}

// repository is the git repository that a folder is in, and the folder from its
// root; the folder itself where it is in none.
func repository(folder string) (root, below string, err error) {
	full, err := filepath.Abs(folder)
	if err != nil {
		return "", "", err
	}
	if full, err = filepath.EvalSymlinks(full); err != nil {
		return "", "", err
	}
	for at := full; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			below, err := filepath.Rel(at, full)
			return at, filepath.ToSlash(below), err
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
		if at == filepath.Dir(at) {
			return full, ".", nil
		}
	}
}
