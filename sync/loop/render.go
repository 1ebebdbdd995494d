// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/render/sops"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// render turns a commit's tree into objects, and notes what they depend on. What
// files declare that were not parsed, since they are as they were, is returned
// as the inventory has it.
func (l *Loop) render(ctx context.Context, gs *v1alpha1.GitSync, p *pass, snapshot source.Snapshot) ([]render.Object, []*ownership.Entry, error) {
	tree, reads := snapshot.FS, source.Watch(snapshot.FS)
	if reads != nil {
		tree = reads
	}
	k := l.keeps(gs, p, snapshot.FS, reads)
	options, err := RenderOptions(gs, l.o.Namespace)
	if err != nil {
		return nil, nil, &failure{"RenderFailed", err}
	}
	options.Known, options.Roots = k.known, k.roots.choose
	options.Helm.Ask = k.ask
	if options.Keys, err = l.keys(ctx, gs); err != nil {
		return nil, nil, err
	}
	kind, err := render.TypeOf(tree, options)
	if err != nil {
		return nil, nil, &failure{"RenderFailed", fmt.Errorf("render: %w", err)}
	}
	objects, err := render.Objects(ctx, tree, options)
	if err != nil {
		return nil, nil, &failure{"RenderFailed", fmt.Errorf("render: %w", err)}
	}
	p.rendered = seenBy(gs, snapshot.Revision.Commit, reads, kind)
	if p.rendered.seen != nil {
		p.rendered.roots = k.roots.done()
	}
	if kind == v1alpha1.RenderHelm || p.rendered.roots.charts() {
		if now, err := k.cluster(); err == nil { // it was asked before
			p.rendered.cluster = clusterDigest(now)
		}
	}
	p.rendered.parsed, p.rendered.made = k.asked-k.same, len(k.roots.now)-len(k.roots.kept)
	entries := k.all()
	ctrl.LoggerFrom(ctx).V(1).Info("rendered", "type", kind, "objects", len(objects)+len(entries), "filesAsBefore", k.same, "foldersAsBefore", len(k.roots.kept))
	return objects, entries, nil
}

// RenderOptions are what a GitSync's spec says about rendering; namespace is
// Mainstay's own. What only the cluster knows is not among them.
func RenderOptions(gs *v1alpha1.GitSync, namespace string) (render.Options, error) {
	o := render.Options{
		Path: gs.Spec.Source.Path, SkipPaths: gs.Spec.Policies.Paths,
		Type: gs.Spec.Render.Type, Variables: gs.Spec.Render.Variables,
		Helm: render.Helm{ReleaseName: gs.Name, Namespace: gs.Spec.TargetNamespace},
	}
	if o.Helm.Namespace == "" && gs.Namespace != namespace {
		o.Helm.Namespace = gs.Namespace
	}
	helm := gs.Spec.Render.Helm
	if helm == nil {
		return o, nil
	}
	o.Helm.ReleaseName = cmp.Or(helm.ReleaseName, o.Helm.ReleaseName)
	o.Helm.Namespace = cmp.Or(helm.Namespace, o.Helm.Namespace)
	o.Helm.ValuesFiles = helm.ValuesFiles
	if helm.Values != nil {
		if err := json.Unmarshal(helm.Values.Raw, &o.Helm.Values); err != nil {
			return o, fmt.Errorf("spec.render.helm.values: %w", err)
		}
	}
	return o, nil
}

// keys are the private keys that spec.render.decryption names; nil for none.
func (l *Loop) keys(ctx context.Context, gs *v1alpha1.GitSync) (*sops.Keys, error) {
	decryption := gs.Spec.Render.Decryption
	if decryption == nil {
		return nil, nil //nolint:nilnil // nothing is encrypted
	}
	var secret corev1.Secret
	name := types.NamespacedName{Namespace: gs.Namespace, Name: decryption.SecretRef.Name}
	err := l.Client.Get(ctx, name, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &failure{"SecretNotFound", fmt.Errorf("secret %s of spec.render.decryption.secretRef does not exist: create it with age keys (*.agekey) or OpenPGP keys (*.asc)", name)}
	case err != nil:
		return nil, &failure{"SecretNotFound", fmt.Errorf("get secret %s: %w", name, err)}
	}
	keys, err := sops.NewKeys(secret.Data)
	if err != nil {
		return nil, &failure{"RenderFailed", fmt.Errorf("secret %s of spec.render.decryption.secretRef: %w", name, err)}
	}
	return keys, nil
}

// capabilities are what charts may ask about the cluster.
func (l *Loop) capabilities(h *render.Helm) error {
	client, err := discovery.NewDiscoveryClientForConfigAndClient(l.Config, l.HTTPClient)
	if err != nil {
		return fmt.Errorf("ask the cluster for its version: %w", err)
	}
	return Capabilities(client, h)
}

// Capabilities puts what charts may ask about the cluster into h.
func Capabilities(client discovery.DiscoveryInterface, h *render.Helm) error {
	version, err := client.ServerVersion()
	if err != nil {
		return fmt.Errorf("ask the cluster for its version: %w", err)
	}
	h.KubeVersion = version.GitVersion
	groups, resources, err := client.ServerGroupsAndResources()
	if _, partly := errors.AsType[*discovery.ErrGroupDiscoveryFailed](err); err != nil && !partly {
		return fmt.Errorf("ask the cluster for its APIs: %w", err)
	}
	h.Undiscovered = err
	h.APIVersions = []string{}
	for _, group := range groups {
		for _, version := range group.Versions {
			h.APIVersions = append(h.APIVersions, version.GroupVersion)
		}
	}
	for _, list := range resources {
		for _, resource := range list.APIResources {
			h.APIVersions = append(h.APIVersions, list.GroupVersion+"/"+resource.Kind)
		}
	}
	slices.Sort(h.APIVersions) // the client has them in another order each time
	return nil
}
