// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// Name of both webhook configurations, and the label by which people find
// everything of Mainstay's.
const (
	Name          = "mainstay"
	NameLabel     = "app.kubernetes.io/name"
	suffix        = ".mainstay.dev"
	nsLabel       = "kubernetes.io/metadata.name"
	leasesOnly    = "kube-node-lease"
	accountPrefix = "system:serviceaccount:"
	// markCondition is the name of the condition that mark adds.
	markCondition = "this-configuration"
	// enforcerAnnotation keeps a managed cluster's enforcer from narrowing the
	// entries.
	enforcerAnnotation = "admissions.enforcer/disabled"
	// ConfigurationAnnotation on the canary says which configuration has to
	// answer it.
	ConfigurationAnnotation = "mainstay.dev/configuration"
	// mutatingAnnotation on the validating configuration has the digest of the
	// mutating one that belongs to it; absent where none does.
	mutatingAnnotation = "mainstay.dev/mutating-configuration"
)

// Endpoint is where the API server reaches the webhook: a URL without a path,
// or a Service.
type Endpoint struct {
	URL     string
	Service *ServicePort
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Namespace, Name string
	Port            int32
}

// desired is everything that the configurations depend on.
type desired struct {
	declared    *declared
	endpoint    Endpoint
	bundle      []byte
	namespace   string
	syncAccount string
	token       string
	// connect are the pod subresources that a deny asks for.
	connect []string
	// fail is the policy of the entries held and own, scaleFail that of scale
	// where fail is Fail.
	fail      bool
	scaleFail bool
	// timeout of the entries that may fail closed, in seconds; zero is
	// defaultTimeout.
	timeout int32
}

const defaultTimeout = 3

// configurations builds what has to be in the cluster; no mutating one where
// nobody wants controllers' writes corrected.
func (d desired) configurations() pair {
	p := pair{validating: d.blank(d.validating()...)}
	if correct, ok := d.correct(); ok {
		p.mutating = d.blank(correct)
		p.mutating.Annotations[ConfigurationAnnotation] = digestOf(p.mutating)
		p.validating.Annotations[mutatingAnnotation] = digest(p.mutating)
	}
	d.mark(p.validating)
	return p
}

func (d desired) blank(webhooks ...admissionregistrationv1.MutatingWebhook) *configuration {
	return &configuration{
		ObjectMeta: metav1.ObjectMeta{
			Name:        Name,
			Labels:      map[string]string{NameLabel: "mainstay"},
			Annotations: map[string]string{enforcerAnnotation: "true"},
		},
		Webhooks: webhooks,
	}
}

// validating are the entries that judge. Only held, own and, if so configured,
// scale ever fail closed.
func (d desired) validating() []admissionregistrationv1.MutatingWebhook {
	var entries []admissionregistrationv1.MutatingWebhook
	add := func(name string, rules []admissionregistrationv1.RuleWithOperations, edit func(*admissionregistrationv1.MutatingWebhook)) {
		if len(rules) > 0 {
			w := d.entry(name, rules, admissionregistrationv1.Ignore, 1)
			edit(&w)
			entries = append(entries, w)
		}
	}
	failing := func(w *admissionregistrationv1.MutatingWebhook, wanted bool) {
		if wanted {
			policy, timeout := d.policy(true), cmp.Or(d.timeout, defaultTimeout)
			w.FailurePolicy, w.TimeoutSeconds = &policy, &timeout
		}
	}
	held := d.declared.held
	add(webhook.EntryHeld, held.rules("", admissionregistrationv1.Update, admissionregistrationv1.Delete), func(w *admissionregistrationv1.MutatingWebhook) {
		failing(w, true)
		w.ObjectSelector, w.NamespaceSelector = labelled(), d.elsewhere()
	})
	entries = append(entries, d.own())
	add(webhook.EntryCreated, held.rules("", admissionregistrationv1.Create), func(w *admissionregistrationv1.MutatingWebhook) {
		w.NamespaceSelector = within(held)
		w.MatchConditions = []admissionregistrationv1.MatchCondition{d.notByMainstay()}
	})
	add(webhook.EntryStatus, statusRules(held), func(w *admissionregistrationv1.MutatingWebhook) {
		w.ObjectSelector, w.NamespaceSelector = labelled(), d.elsewhere()
		w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "metadata-differs", Expression: metadataDiffers()}}
	})
	scalable := held.scalable()
	add(webhook.EntryScale, scalable.rules("/scale", admissionregistrationv1.Update), func(w *admissionregistrationv1.MutatingWebhook) {
		failing(w, d.scaleFail)
		w.NamespaceSelector = within(scalable)
	})
	if len(held.namespaces()) > 0 {
		add(webhook.EntryConnect, connectRules(d.connect), func(w *admissionregistrationv1.MutatingWebhook) { w.NamespaceSelector = within(held) })
	}
	observed := d.declared.observed
	add(webhook.EntryObserved, observed.rules("", admissionregistrationv1.Update, admissionregistrationv1.Delete), func(w *admissionregistrationv1.MutatingWebhook) {
		w.NamespaceSelector = within(observed)
		w.MatchConditions = []admissionregistrationv1.MatchCondition{d.notByMainstay()}
	})
	return entries
}

// correct is the mutating entry, where a GitSync wants it.
func (d desired) correct() (admissionregistrationv1.MutatingWebhook, bool) {
	if len(d.declared.corrected) == 0 {
		return admissionregistrationv1.MutatingWebhook{}, false
	}
	w := d.entry(webhook.EntryCorrect, d.declared.corrected.rules("", admissionregistrationv1.Update), admissionregistrationv1.Ignore, 1)
	ifNeeded := admissionregistrationv1.IfNeededReinvocationPolicy
	w.ReinvocationPolicy = &ifNeeded
	w.ObjectSelector, w.NamespaceSelector = labelled(), d.elsewhere()
	w.MatchConditions = []admissionregistrationv1.MatchCondition{{
		Name:       "by-a-service-account",
		Expression: "has(request.userInfo.username) && request.userInfo.username.startsWith(" + quote(accountPrefix) + ")",
	}, d.notByMainstay()}
	return w, true
}

// labelled selects objects with an ownership label, before or after a change.
func labelled() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: v1alpha1.SyncLabel, Operator: metav1.LabelSelectorOpExists},
	}}
}

// elsewhere selects every namespace but those in which nothing may wait.
func (d desired) elsewhere() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: nsLabel, Operator: metav1.LabelSelectorOpNotIn, Values: []string{leasesOnly, d.namespace}},
	}}
}

// within selects the namespaces that hold the resources. A selector does not
// touch what is of cluster scope.
func within(r resources) *metav1.LabelSelector {
	namespaces := r.namespaces()
	if len(namespaces) == 0 {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: nsLabel, Operator: metav1.LabelSelectorOpDoesNotExist},
		}}
	}
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: nsLabel, Operator: metav1.LabelSelectorOpIn, Values: namespaces},
	}}
}

// statusRules name the status of every resource: where there is none, a rule
// does no harm.
func statusRules(held resources) []admissionregistrationv1.RuleWithOperations {
	rules := held.rules("/status", admissionregistrationv1.Update)
	namespaces := schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	if _, ok := held[namespaces]; ok {
		rules = append(rules, rule(namespaces.GroupVersion(), []admissionregistrationv1.OperationType{admissionregistrationv1.Update}, "namespaces/finalize"))
	}
	return rules
}

// metadataDiffers is the CEL for a change of what both status and finalize can
// change beside their own stanza.
func metadataDiffers() string {
	var terms []string
	for _, f := range []struct{ name, empty string }{
		{"labels", "{}"}, {"annotations", "{}"}, {"finalizers", "[]"}, {"ownerReferences", "[]"},
	} {
		side := func(doc string) string {
			return "(has(" + doc + ".metadata." + f.name + ") ? " + doc + ".metadata." + f.name + " : " + f.empty + ")"
		}
		terms = append(terms, side("object")+" != "+side("oldObject"))
	}
	// Only a Namespace has a finalize, whose own finalizers are the namespace
	// controller's to take off once it is being deleted.
	finalizers := func(doc string) string {
		return "(has(" + doc + ".spec) && has(" + doc + ".spec.finalizers) ? " + doc + ".spec.finalizers : [])"
	}
	terms = append(terms, `has(request.subResource) && request.subResource == "finalize" && !has(oldObject.metadata.deletionTimestamp) && `+
		finalizers("object")+" != "+finalizers("oldObject"))
	return "object != null && oldObject != null && (" + strings.Join(terms, " || ") + ")"
}

// connectRules name exactly those of pods' subresources that a deny can ask for
// and that one does.
func connectRules(wanted []string) []admissionregistrationv1.RuleWithOperations {
	var rules []admissionregistrationv1.RuleWithOperations
	for _, r := range []struct {
		operation    admissionregistrationv1.OperationType
		subresources []string
	}{
		{admissionregistrationv1.Connect, []string{"attach", "exec", "portforward"}},
		{admissionregistrationv1.Create, []string{"eviction"}},
		{admissionregistrationv1.Update, []string{"ephemeralcontainers", "resize"}},
	} {
		var names []string
		for _, subresource := range r.subresources {
			if slices.Contains(wanted, subresource) {
				names = append(names, "pods/"+subresource)
			}
		}
		if len(names) > 0 {
			rules = append(rules, rule(schema.GroupVersion{Version: "v1"}, []admissionregistrationv1.OperationType{r.operation}, names...))
		}
	}
	return rules
}

// policy is Fail only where that is wanted and proven.
func (d desired) policy(wanted bool) admissionregistrationv1.FailurePolicyType {
	if wanted && d.fail {
		return admissionregistrationv1.Fail
	}
	return admissionregistrationv1.Ignore
}

func (d desired) entry(entry string, rules []admissionregistrationv1.RuleWithOperations, policy admissionregistrationv1.FailurePolicyType, timeout int32) admissionregistrationv1.MutatingWebhook {
	equivalent, sideEffects := admissionregistrationv1.Equivalent, admissionregistrationv1.SideEffectClassNoneOnDryRun
	return admissionregistrationv1.MutatingWebhook{
		Name:                    entry + suffix,
		ClientConfig:            d.client(webhook.Path(d.token, entry)),
		Rules:                   rules,
		FailurePolicy:           &policy,
		MatchPolicy:             &equivalent,
		NamespaceSelector:       &metav1.LabelSelector{},
		ObjectSelector:          &metav1.LabelSelector{},
		SideEffects:             &sideEffects,
		TimeoutSeconds:          &timeout,
		AdmissionReviewVersions: []string{"v1"},
	}
}

func (d desired) client(path string) admissionregistrationv1.WebhookClientConfig {
	client := admissionregistrationv1.WebhookClientConfig{CABundle: d.bundle}
	if s := d.endpoint.Service; s != nil {
		port := cmp.Or(s.Port, 443)
		client.Service = &admissionregistrationv1.ServiceReference{Namespace: s.Namespace, Name: s.Name, Path: &path, Port: &port}
		return client
	}
	url := strings.TrimSuffix(d.endpoint.URL, "/") + path
	client.URL = &url
	return client
}

func rule(gv schema.GroupVersion, operations []admissionregistrationv1.OperationType, resources ...string) admissionregistrationv1.RuleWithOperations {
	scope := admissionregistrationv1.AllScopes
	return admissionregistrationv1.RuleWithOperations{
		Operations: operations,
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{gv.Group}, APIVersions: []string{gv.Version}, Resources: resources, Scope: &scope,
		},
	}
}

// mark adds the condition by which a canary tells whether this very
// configuration is in force: one that asks for another passes by unseen, which
// only a dry run may.
func (d desired) mark(c *configuration) {
	digest := digestOf(c)
	c.Annotations[ConfigurationAnnotation] = digest
	for i := range c.Webhooks {
		if c.Webhooks[i].Name != webhook.EntryOwn+suffix {
			continue
		}
		key := quote(ConfigurationAnnotation)
		c.Webhooks[i].MatchConditions = append(c.Webhooks[i].MatchConditions, admissionregistrationv1.MatchCondition{
			Name: markCondition,
			Expression: `!(has(request.dryRun) && request.dryRun && object != null && has(object.metadata.annotations) && ` +
				key + " in object.metadata.annotations && object.metadata.annotations[" + key + "] != " + quote(digest) + ")",
		})
	}
}

// digestOf names the content of a configuration, and of the one that belongs to
// it.
func digestOf(c *configuration) string {
	raw, err := json.Marshal(c.Webhooks)
	if err != nil {
		return "" // these types always encode
	}
	sum := sha256.Sum256(append(raw, c.Annotations[mutatingAnnotation]...))
	return hex.EncodeToString(sum[:8])
}

// quote writes a CEL string. Names of namespaces, resources and accounts have
// nothing that CEL and Go would quote differently.
func quote(text string) string { return strconv.Quote(text) }
