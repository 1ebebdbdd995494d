// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// nodeLeases is the namespace whose requests never wait for a webhook.
const nodeLeases = "kube-node-lease"

// aggregated remembers for a moment which groups and versions another API
// server serves: it calls no webhooks, or its own.
type aggregated struct {
	mu       sync.Mutex
	at       time.Time
	versions map[schema.GroupVersion]bool
}

const aggregatedFor = time.Minute

// aggregatedVersions are those of the APIServices that name a Service. Where
// they can't be listed, the last answer counts.
func (l *Loop) aggregatedVersions(ctx context.Context) map[schema.GroupVersion]bool {
	l.aggregated.mu.Lock()
	defer l.aggregated.mu.Unlock()
	if time.Since(l.aggregated.at) < aggregatedFor {
		return l.aggregated.versions
	}
	l.aggregated.at = time.Now()
	list := new(unstructured.UnstructuredList)
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIServiceList"})
	if err := l.Client.List(ctx, list); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "not known which kinds are served by other API servers; trying again")
		return l.aggregated.versions
	}
	versions := map[schema.GroupVersion]bool{}
	for _, service := range list.Items {
		if object, ok, err := unstructured.NestedMap(service.Object, "spec", "service"); err != nil || !ok || len(object) == 0 {
			continue
		}
		versions[schema.GroupVersion{Group: text(service.Object, "spec", "group"), Version: text(service.Object, "spec", "version")}] = true
	}
	l.aggregated.versions = versions
	return versions
}

// onlyReverted says which objects of a GitSync no webhook can refuse changes
// of; empty where there are none.
func (l *Loop) onlyReverted(ctx context.Context, key types.NamespacedName) string {
	others := l.aggregatedVersions(ctx)
	kinds := map[string]int{}
	total := 0
	for id, e := range l.Index.Entries(key) {
		if l.refusable(id, e, others) {
			continue
		}
		total++
		kinds[id.GroupKind().String()]++
	}
	if total == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(kinds))
	if n := len(names) - 3; n > 0 {
		names = append(names[:3:3], fmt.Sprintf("and %d more kinds", n))
	}
	objects, are := "objects", "are"
	if total == 1 {
		objects, are = "object", "is"
	}
	return fmt.Sprintf("%d %s %s only reverted, not refused: %s", total, objects, are, strings.Join(names, ", "))
}

// refusable tells whether changes of an object reach the webhook.
func (l *Loop) refusable(id ownership.ID, e *ownership.Entry, others map[schema.GroupVersion]bool) bool {
	gvr := e.GVR()
	switch {
	case gvr.Group == v1alpha1.GroupVersion.Group:
		return true // its own kinds are seen in every namespace
	case !l.Registration.Sees(gvr.GroupResource()), others[gvr.GroupVersion()]:
		return false
	}
	return id.Namespace != l.o.Namespace && id.Namespace != nodeLeases
}
