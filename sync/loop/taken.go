// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// listedAtOnce is how many resources are listed at once to find what is in a
// namespace; maxListed how many objects of each are read.
const (
	listedAtOnce = 8
	maxListed    = 200
)

// incidental are resources whose objects come and go with a namespace or with
// other objects.
var incidental = []schema.GroupResource{
	{Resource: "events"},
	{Group: "events.k8s.io", Resource: "events"},
	{Resource: "endpoints"},
	{Group: "discovery.k8s.io", Resource: "endpointslices"},
	{Group: "coordination.k8s.io", Resource: "leases"},
	{Group: "mainstay.dev", Resource: "inventories"},
}

// taken says which objects would go along with a namespace or a definition that
// is pruned, though the commit does not prune them; empty where none would. What
// can't be found out is as if there were some.
func (l *Loop) taken(ctx context.Context, a *attempt, doomed []ownership.ID) (string, error) {
	var along []string
	for _, id := range doomed {
		var found []string
		var err error
		switch {
		case !foundation(id):
			continue
		case id.Kind == "Namespace":
			found, err = l.within(ctx, a, id.Name)
		default:
			found, err = l.instances(ctx, a, id)
		}
		if err != nil {
			return "", fmt.Errorf("find out what is deleted along with %s: %w", id, err)
		}
		for _, f := range found {
			along = append(along, f+" with "+id.String())
		}
	}
	if len(along) == 0 {
		return "", nil
	}
	slices.Sort(along)
	n := len(along)
	if n > maxPending {
		along = append(along[:maxPending:maxPending], fmt.Sprintf("and %d more", n-maxPending))
	}
	return fmt.Sprintf("and along with them %d objects that the commit does not delete (%s)", n, strings.Join(along, ", ")), nil
}

// within are the objects of a namespace that would be deleted along with it.
func (l *Loop) within(ctx context.Context, a *attempt, namespace string) ([]string, error) {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(l.Config, l.HTTPClient)
	if err != nil {
		return nil, fmt.Errorf("make a discovery client: %w", err)
	}
	// What an API server that does not answer has is not deleted, either: the
	// namespace waits for it.
	lists, err := d.ServerPreferredNamespacedResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("list the kinds that are served: %w", err)
	}
	var resources []schema.GroupVersionResource
	kinds := map[schema.GroupVersionResource]string{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("read the kinds that are served: %w", err)
		}
		for _, r := range list.APIResources {
			gvr := gv.WithResource(r.Name)
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") ||
				slices.Contains(incidental, gvr.GroupResource()) {
				continue
			}
			resources = append(resources, gvr)
			kinds[gvr] = r.Kind
		}
	}
	return l.listed(ctx, a, namespace, resources, kinds)
}

// instances are the objects of a definition's kind.
func (l *Loop) instances(ctx context.Context, a *attempt, crd ownership.ID) ([]string, error) {
	plural, group, _ := strings.Cut(crd.Name, ".")
	gvr, err := l.Mapper.ResourceFor(schema.GroupVersionResource{Group: group, Resource: plural})
	if err != nil {
		return nil, nil //nolint:nilerr // a kind that is not served has no objects
	}
	gvk, err := l.Mapper.KindFor(gvr)
	if err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	return l.listed(ctx, a, "", []schema.GroupVersionResource{gvr}, map[schema.GroupVersionResource]string{gvr: gvk.Kind})
}

// listed are the objects of some resources that the attempt does not let end by
// itself, and that nothing else makes.
func (l *Loop) listed(ctx context.Context, a *attempt, namespace string, resources []schema.GroupVersionResource, kinds map[schema.GroupVersionResource]string) ([]string, error) {
	client, err := metadata.NewForConfigAndClient(l.Config, l.HTTPClient)
	if err != nil {
		return nil, fmt.Errorf("make a metadata client: %w", err)
	}
	var mu sync.Mutex
	var found []string
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(listedAtOnce)
	for _, gvr := range resources {
		group.Go(func() error {
			list, err := client.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: maxListed})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("list %s: %w", gvr.GroupResource(), err)
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range list.Items {
				o := &list.Items[i]
				id := ownership.ID{Group: gvr.Group, Kind: kinds[gvr], Namespace: o.Namespace, Name: o.Name}
				if slices.Contains(a.leaving, id) || made(id, o) {
					continue
				}
				found = append(found, id.String())
			}
			return nil
		})
	}
	return found, group.Wait()
}

// made tells that something else makes an object and makes it again.
func made(id ownership.ID, o *metav1.PartialObjectMetadata) bool {
	switch {
	case len(o.OwnerReferences) > 0, !o.DeletionTimestamp.IsZero():
		return true
	case id.Group != "":
		return false
	case id.Kind == "ConfigMap":
		return o.Name == "kube-root-ca.crt"
	case id.Kind == "ServiceAccount":
		return o.Name == "default"
	case id.Kind == "Secret":
		return o.Annotations["kubernetes.io/service-account.name"] != ""
	}
	return false
}
