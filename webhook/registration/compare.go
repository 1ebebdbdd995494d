// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"bytes"
	"encoding/pem"
	"maps"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// tolerated are the expressions that managed clusters add to every webhook's
// namespaceSelector; they keep a cluster's own namespaces out. Nothing else is:
// another operator on the same key could keep out every namespace.
func tolerated() []metav1.LabelSelectorRequirement {
	return []metav1.LabelSelectorRequirement{
		{Key: "control-plane", Operator: metav1.LabelSelectorOpDoesNotExist},
		{Key: "control-plane", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"true"}},
		{Key: "kubernetes.azure.com/managedby", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"aks"}},
	}
}

// same tells whether the cluster has what Mainstay wrote. Others' labels and
// annotations, and tolerated expressions, are no difference.
func same(want, have *configuration) bool {
	for key, value := range want.Labels {
		if have.Labels[key] != value {
			return false
		}
	}
	for key, value := range want.Annotations {
		if have.Annotations[key] != value {
			return false
		}
	}
	if have.Annotations[mutatingAnnotation] != want.Annotations[mutatingAnnotation] || len(want.Webhooks) != len(have.Webhooks) {
		return false
	}
	for i := range want.Webhooks {
		mine, theirs := want.Webhooks[i].DeepCopy(), have.Webhooks[i].DeepCopy()
		strip(theirs.NamespaceSelector)
		if !equality.Semantic.DeepEqual(mine, theirs) {
			return false
		}
	}
	return true
}

// merged is have with everything that Mainstay writes as in want.
func merged(want, have *configuration) *configuration {
	out := have.DeepCopy()
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	maps.Copy(out.Labels, want.Labels)
	delete(out.Annotations, mutatingAnnotation)
	maps.Copy(out.Annotations, want.Annotations)
	out.Webhooks = want.DeepCopy().Webhooks
	for i := range out.Webhooks {
		for _, old := range have.Webhooks {
			if old.Name == out.Webhooks[i].Name {
				keep(out.Webhooks[i].NamespaceSelector, old.NamespaceSelector)
			}
		}
	}
	return out
}

func strip(selector *metav1.LabelSelector) {
	if selector == nil {
		return
	}
	selector.MatchExpressions = slices.DeleteFunc(selector.MatchExpressions, isTolerated)
}

func keep(into, from *metav1.LabelSelector) {
	if into == nil || from == nil {
		return
	}
	for _, e := range from.MatchExpressions {
		if isTolerated(e) {
			into.MatchExpressions = append(into.MatchExpressions, e)
		}
	}
}

func isTolerated(e metav1.LabelSelectorRequirement) bool {
	return slices.ContainsFunc(tolerated(), func(t metav1.LabelSelectorRequirement) bool { return equality.Semantic.DeepEqual(t, e) })
}

// narrowed tells which namespaces others keep out of a configuration, sorted;
// empty where they keep out none.
func narrowed(have *configuration) string {
	var keys []string
	for i := range have.Webhooks {
		if s := have.Webhooks[i].NamespaceSelector; s != nil {
			for _, e := range s.MatchExpressions {
				if isTolerated(e) && !slices.Contains(keys, e.Key) {
					keys = append(keys, e.Key)
				}
			}
		}
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}

// writer is the field manager that wrote a configuration last, other than
// Mainstay; empty where nobody is noted: who only takes away owns nothing.
func writer(c *configuration) string {
	var last *metav1.ManagedFieldsEntry
	for i := range c.ManagedFields {
		e := &c.ManagedFields[i]
		if e.Manager == v1alpha1.FieldManager || e.Time == nil {
			continue
		}
		if last == nil || last.Time.Before(e.Time) {
			last = e
		}
	}
	if last == nil {
		return ""
	}
	return last.Manager
}

// intact tells whether a configuration is one that Mainstay published, whatever
// is tolerated in it: its content has the digest that it says.
func intact(have *configuration) bool {
	bare := have.DeepCopy()
	for i := range bare.Webhooks {
		w := &bare.Webhooks[i]
		strip(w.NamespaceSelector)
		w.MatchConditions = slices.DeleteFunc(w.MatchConditions, func(c admissionregistrationv1.MatchCondition) bool {
			return c.Name == markCondition
		})
	}
	return have.Labels[NameLabel] == "mainstay" && have.Annotations[enforcerAnnotation] == "true" &&
		have.Annotations[ConfigurationAnnotation] == digestOf(bare)
}

// failsClosedAt tells whether a configuration fails closed at the endpoint of d
// and trusts a certificate that d trusts, too: it was proven before.
func failsClosedAt(have *configuration, d desired) bool {
	for i := range have.Webhooks {
		w := &have.Webhooks[i]
		if w.Name != webhook.EntryOwn+suffix {
			continue
		}
		client := d.client(webhook.Path(d.token, webhook.EntryOwn))
		known := w.ClientConfig.CABundle
		client.CABundle = known
		return w.FailurePolicy != nil && *w.FailurePolicy == admissionregistrationv1.Fail &&
			equality.Semantic.DeepEqual(w.ClientConfig, client) && overlaps(known, d.bundle)
	}
	return false
}

// overlaps tells whether two bundles have a certificate in common.
func overlaps(a, b []byte) bool {
	for {
		var block *pem.Block
		if block, a = pem.Decode(a); block == nil {
			return false
		}
		if bytes.Contains(b, bytes.TrimSpace(pem.EncodeToMemory(block))) {
			return true
		}
	}
}
