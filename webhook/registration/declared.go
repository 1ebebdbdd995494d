// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// declared is what the index declares, as the registration needs it.
type declared struct {
	// held are the resources of GitSyncs that apply what git says, observed
	// those of GitSyncs that only watch, corrected those of which controllers'
	// writes are put right.
	held, observed, corrected resources
	// holding are namespaces that may not be deleted, Mainstay's own among them
	// while anything is held; crds are the names of the
	// definitions that may not, either.
	holding map[string]bool
	crds    map[string]bool
}

// resources are by group and version, each with the namespaces that hold some
// of it; a Namespace counts as in itself.
type resources map[schema.GroupVersionResource]map[string]bool

// read collects what the index declares.
func read(index *ownership.Index, namespace string) *declared {
	d := &declared{
		held: resources{}, observed: resources{}, corrected: resources{},
		holding: map[string]bool{}, crds: map[string]bool{},
	}
	// What Mainstay itself runs on must be repairable by hand, and a node's
	// heartbeat never waits.
	apart := []string{namespace, leasesOnly}
	for _, sync := range index.Syncs() {
		for _, e := range index.Entries(sync.Key()) {
			gvr := e.GVR()
			if sync.Mode != v1alpha1.ModeObserve {
				d.holding[namespace] = true
			}
			if unseen(gvr.GroupResource()) {
				continue
			}
			if sync.Mode == v1alpha1.ModeObserve {
				d.observed.add(e, apart)
				continue
			}
			if e.Namespace != "" {
				d.holding[e.Namespace] = true
			}
			if custom(gvr.Group) {
				d.crds[gvr.Resource+"."+gvr.Group] = true
			}
			d.held.add(e, apart)
			if sync.Mode == v1alpha1.ModeEnforce && sync.Controllers == v1alpha1.ControllersCorrect {
				d.corrected.add(e, apart)
			}
		}
	}
	return d
}

// add enters an object. Mainstay's own kinds have an entry of their own.
func (r resources) add(e *ownership.Entry, apart []string) {
	gvr := e.GVR()
	if gvr.Group == v1alpha1.GroupVersion.Group {
		return
	}
	if r[gvr] == nil {
		r[gvr] = map[string]bool{}
	}
	namespace := e.Namespace
	if gvr.Group == "" && gvr.Resource == "namespaces" {
		namespace = e.Name
	}
	if namespace != "" && !slices.Contains(apart, namespace) {
		r[gvr][namespace] = true
	}
}

// namespaces that hold any of the resources, sorted.
func (r resources) namespaces() []string {
	all := map[string]bool{}
	for _, some := range r {
		maps.Copy(all, some)
	}
	return slices.Sorted(maps.Keys(all))
}

// rules has one rule for each group and version, in a fixed order.
func (r resources) rules(subresource string, operations ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	byVersion := map[schema.GroupVersion][]string{}
	for gvr := range r {
		byVersion[gvr.GroupVersion()] = append(byVersion[gvr.GroupVersion()], gvr.Resource+subresource)
	}
	versions := slices.SortedFunc(maps.Keys(byVersion), func(a, b schema.GroupVersion) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version))
	})
	rules := make([]admissionregistrationv1.RuleWithOperations, 0, len(versions))
	for _, gv := range versions {
		names := byVersion[gv]
		slices.Sort(names)
		rules = append(rules, rule(gv, operations, names...))
	}
	return rules
}

// scalable are those that may have a scale: the built-in workloads, and custom
// resources, of which a rule does not need to know.
func (r resources) scalable() resources {
	out := resources{}
	for gvr, namespaces := range r {
		builtIn := gvr.Group == "apps" && gvr.Resource != "daemonsets" && gvr.Resource != "controllerrevisions" ||
			gvr.Group == "" && gvr.Resource == "replicationcontrollers"
		if builtIn || custom(gvr.Group) {
			out[gvr] = namespaces
		}
	}
	return out
}

// custom tells that the resources of a group are defined in the cluster.
func custom(group string) bool {
	return strings.Contains(group, ".") && !scheme.Scheme.IsGroupRegistered(group)
}

// unseen are resources that no webhook sees, or that none may ever delay.
func unseen(r schema.GroupResource) bool {
	switch r.Group {
	case "admissionregistration.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "events.k8s.io":
		return true
	case "":
		switch r.Resource {
		case "pods", "nodes", "events", "endpoints", "bindings":
			return true
		}
	case "coordination.k8s.io":
		return r.Resource == "leases"
	case "discovery.k8s.io":
		return r.Resource == "endpointslices"
	case "certificates.k8s.io":
		return r.Resource == "certificatesigningrequests"
	}
	return false
}
