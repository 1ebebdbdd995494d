// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
	rendering "github.com/mainstay-gitops/mainstay/cmd/mainstay/render"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/seal"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/loop"
)

// parallel is how many objects are read at the same time.
const parallel = 16

// cluster reads live objects.
type cluster struct {
	s       *cli.Session
	applier *apply.Applier
	mapper  meta.RESTMapper
	mask    *mask
}

func newCluster(s *cli.Session) (*cluster, error) {
	httpClient, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	raw, err := apply.ClientFor(s.Config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	applier, err := apply.New(apply.Options{Client: raw})
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(s.Config, httpClient)
	if err != nil {
		return nil, fmt.Errorf("ask which kinds there are: %w", err)
	}
	return &cluster{s: s, applier: applier, mapper: mapper, mask: newMask()}, nil
}

// inventory is what is applied for a GitSync, with its seals verified. It is in
// Secrets of Mainstay's namespace, which not everybody may read.
func (c *cluster) inventory(ctx context.Context, gs *v1alpha1.GitSync) (map[ownership.ID]*ownership.Entry, error) {
	inventory := new(v1alpha1.Inventory)
	if err := c.s.Client.Get(ctx, client.ObjectKeyFromObject(gs), inventory); err != nil {
		if apierrors.IsNotFound(err) {
			return map[ownership.ID]*ownership.Entry{}, nil // nothing was applied yet
		}
		return nil, fmt.Errorf("read the inventory: %w", err)
	}
	system := c.s.Flags.System
	secret := new(corev1.Secret)
	if err := c.s.Client.Get(ctx, types.NamespacedName{Namespace: system, Name: v1alpha1.KeySecret}, secret); err != nil {
		return nil, fmt.Errorf("read the key of the inventory: %w", err)
	}
	key, err := seal.NewKey(secret.Data[v1alpha1.KeySecretKey])
	if err != nil {
		return nil, fmt.Errorf("secret %s/%s: %w", system, v1alpha1.KeySecret, err)
	}
	index := ownership.NewIndex()
	loader, err := ownership.NewLoader(ownership.LoaderOptions{Reader: c.s.Client, Key: key, Namespace: system, Index: index})
	if err != nil {
		return nil, err
	}
	if err := loader.Load(ctx, inventory); err != nil {
		return nil, err
	}
	return index.Entries(client.ObjectKeyFromObject(gs)), nil
}

// manner is how the controller renders a GitSync.
func (c *cluster) manner(ctx context.Context, gs *v1alpha1.GitSync, path string, keyFiles []string) (manner, error) {
	options, err := loop.RenderOptions(gs, c.s.Flags.System)
	if err != nil {
		return manner{}, err
	}
	if path != "" {
		options.Path = path
	}
	if options.Keys, err = rendering.ReadKeys(keyFiles); err != nil {
		return manner{}, err
	}
	if err := rendering.Ask(ctx, c.s.Client, c.s.Config, gs, &options); err != nil {
		return manner{}, cli.Unclear(err)
	}
	return manner{Options: options, target: gs.Spec.TargetNamespace, mapper: c.mapper}, nil
}

// appliedOnes are the declarations of an inventory.
func appliedOnes(entries map[ownership.ID]*ownership.Entry) declarations {
	all := declarations{}
	for id, e := range entries {
		if content := e.Current(); content != nil && !e.Pruning {
			all[id] = declared{gvk: e.GVK(), desired: content.Desired, file: content.File, line: content.Line}
		}
	}
	return all
}

// compare reads every declared object and says what a sync would change of it.
// base are the applied entries; nil where they can't be read. everything keeps
// what is equal, with the names of its writers.
func (c *cluster) compare(ctx context.Context, want declarations, base map[ownership.ID]*ownership.Entry, everything bool) ([]Object, error) {
	ids := make([]ownership.ID, 0, len(want))
	for id := range want {
		ids = append(ids, id)
	}
	found := make([]Object, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	done := make(chan struct{}, len(ids))
	go c.tell(ctx, done, len(ids))
	for i, id := range ids {
		group.Go(func() error {
			var content *ownership.Content
			if e := base[id]; e != nil {
				content = e.Applied
			}
			var err error
			found[i], err = c.one(ctx, id, want[id], content, everything)
			done <- struct{}{}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	objects := []Object{}
	for _, o := range found {
		if everything || o.State != Equal {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// leaving are the applied objects that git no longer declares.
func leaving(want declarations, base map[ownership.ID]*ownership.Entry) []Object {
	var objects []Object
	for id, e := range base {
		if _, stays := want[id]; stays || e.Pruning {
			continue
		}
		o := object(id, Leaves)
		if content := e.Current(); content != nil {
			o.File, o.Line = content.File, content.Line
		}
		objects = append(objects, o)
	}
	return objects
}

// tell says how far it is, where that takes long.
func (c *cluster) tell(ctx context.Context, done <-chan struct{}, total int) {
	last := time.Now()
	for n := 1; n <= total; n++ {
		select {
		case <-ctx.Done():
			return
		case <-done:
		}
		if time.Since(last) > time.Second {
			last = time.Now()
			fmt.Fprintf(c.s.Progress, "compared %d of %d objects\n", n, total)
		}
	}
}

func (c *cluster) one(ctx context.Context, id ownership.ID, want declared, base *ownership.Content, writers bool) (Object, error) {
	o := object(id, Equal)
	o.File, o.Line = want.file, want.line
	mapping, err := c.mapper.RESTMapping(want.gvk.GroupKind(), want.gvk.Version)
	switch {
	case meta.IsNoMatchError(err):
		o.State, o.Message = Missing, "with its kind"
		return o, nil
	case err != nil:
		return o, fmt.Errorf("find kind %s: %w", want.gvk.GroupKind(), err)
	}
	raw, err := c.applier.Get(ctx, apply.Target{Resource: mapping.Resource, Namespace: id.Namespace, Name: id.Name})
	switch {
	case apierrors.IsNotFound(err):
		o.State = Missing
		return o, nil
	case apierrors.IsForbidden(err):
		o.State, o.Message = Unreadable, "you may not read it"
		return o, nil
	case err != nil:
		return o, fmt.Errorf("read %s: %w", id, err)
	}
	live, err := fastjson.ParseBytes(raw)
	if err != nil {
		return o, fmt.Errorf("parse %s: %w", id, err)
	}
	if o.Changes, err = toGit(id, want.desired, live, base, c.mask); err != nil {
		return o, err
	}
	if len(o.Changes) > 0 {
		o.State = Differs
	}
	if writers {
		o.Managers = managers(live)
	}
	return o, nil
}

// against compares the cluster with a side of git, or with what is applied
// where there is none.
func (c *cluster) against(ctx context.Context, gs *v1alpha1.GitSync, g *git, path string, f *flags) (*Result, error) {
	base, err := c.inventory(ctx, gs)
	if err != nil && (g == nil || !apierrors.IsForbidden(err)) {
		if apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("%w: in your clone, mainstay diff PATH or REV does without", err)
		}
		return nil, err
	}
	if err != nil {
		fmt.Fprintf(c.s.Progress, "%v: values that the API server stores in another form may show, and what would be pruned does not\n", err)
	}
	r := &Result{From: "cluster", To: cli.Short(gs.Status.LastAppliedRevision)}
	want := appliedOnes(base)
	if g != nil {
		how, err := c.manner(ctx, gs, path, f.keys)
		if err != nil {
			return nil, err
		}
		part := path != "" && path != strings.Trim(gs.Spec.Source.Path, "./")
		r.To = g.name
		if want, err = g.objects(ctx, how); err != nil {
			return nil, err
		}
		if !part { // a part of what is declared says nothing about the rest
			r.Objects = leaving(want, base)
		}
	}
	r.Compared = len(want)
	leaves := r.Objects
	if r.Objects, err = c.compare(ctx, want, base, f.live); err != nil {
		return nil, err
	}
	if err := c.permitted(gs, want, base, r); err != nil {
		return nil, err
	}
	r.Objects = append(r.Objects, leaves...)
	sortObjects(r.Objects)
	return r, nil
}
