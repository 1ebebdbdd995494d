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
	"k8s.io/client-go/rest"
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
	tree, done, err := c.tree(root)
	if err != nil {
		return nil, err
	}
	defer done()
	options, target, err := c.options(ctx, below)
	if err != nil {
		return nil, err
	}
	kind, err := render.TypeOf(tree, options)
	if err != nil {
		return nil, err
	}
	objects, err := render.Objects(ctx, tree, options)
	if err != nil {
		return nil, err
	}
	objects, err = render.Settle(objects, target, Scopes(objects, nil))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(progress, "%d objects, rendered as %s\n", len(objects), ways(kind, objects))
	return objects, nil
}

// ways are the type of the path, and what was rendered by itself below it.
func ways(kind v1alpha1.RenderType, objects []render.Object) string {
	seen := map[render.Root]bool{}
	var kustomizations, charts int
	for i := range objects {
		root := objects[i].Root
		if root.Type == kind || seen[root] {
			continue
		}
		seen[root] = true
		if root.Type == v1alpha1.RenderHelm {
			charts++
		} else {
			kustomizations++
		}
	}
	text := string(kind)
	if kustomizations > 0 {
		text += fmt.Sprintf("; kustomizations below: %d", kustomizations)
	}
	if charts > 0 {
		text += fmt.Sprintf("; charts below: %d", charts)
	}
	return text
}

// options are the flags', or those of the GitSync.
func (c *command) options(ctx context.Context, below string) (render.Options, string, error) {
	keys, err := ReadKeys(c.keys)
	if err != nil {
		return render.Options{}, "", err
	}
	if c.sync == "" && c.file == "" {
		return render.Options{
			Path: below, SkipPaths: c.skip, Type: v1alpha1.RenderType(c.kind), Variables: c.variables, Keys: keys,
			Helm: render.Helm{
				ReleaseName: c.releaseName, ValuesFiles: c.valuesFiles,
				Namespace: cmp.Or(c.helmNamespace, c.targetNamespace, "default"),
			},
		}, c.targetNamespace, nil
	}
	var gs *v1alpha1.GitSync
	var cluster client.Client
	var config *rest.Config
	if c.file != "" {
		gs, err = fromFile(c.file)
	} else {
		gs, cluster, config, err = c.fromCluster(ctx)
	}
	if err != nil {
		return render.Options{}, "", err
	}
	o, err := loop.RenderOptions(gs, c.system)
	if err != nil {
		return o, "", err
	}
	o.Keys = keys
	if cluster != nil {
		err = Ask(ctx, cluster, config, gs, &o)
	}
	return o, gs.Spec.TargetNamespace, err
}

// Ask puts into o what only the cluster knows about how a GitSync renders: how
// to ask for its version and APIs, for a chart, and the keys that
// spec.render.decryption names where o has none.
func Ask(ctx context.Context, cluster client.Reader, config *rest.Config, gs *v1alpha1.GitSync, o *render.Options) error {
	o.Helm.Ask = func(h *render.Helm) error {
		asked, err := discovery.NewDiscoveryClientForConfig(config)
		if err != nil {
			return fmt.Errorf("reach the cluster: %w", err)
		}
		return loop.Capabilities(asked, h)
	}
	if gs.Spec.Render.Decryption == nil || o.Keys != nil {
		return nil
	}
	var secret corev1.Secret
	name := types.NamespacedName{Namespace: gs.Namespace, Name: gs.Spec.Render.Decryption.SecretRef.Name}
	if err := cluster.Get(ctx, name, &secret); err != nil {
		return fmt.Errorf("get the keys in secret %s: %w: give your own with --key", name, err)
	}
	var err error
	o.Keys, err = sops.NewKeys(secret.Data)
	return err
}

// ReadKeys reads private keys from files; nil for none.
func ReadKeys(files []string) (*sops.Keys, error) {
	if len(files) == 0 {
		return nil, nil //nolint:nilnil // nothing is decrypted
	}
	data := map[string][]byte{}
	for _, file := range files {
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

// fromCluster reads the GitSync.
func (c *command) fromCluster(ctx context.Context) (*v1alpha1.GitSync, client.Client, *rest.Config, error) {
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
	return gs, cluster, config, nil
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
