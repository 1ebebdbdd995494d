// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// Name of the ValidatingWebhookConfiguration, and the label by which people
// find everything of Mainstay's.
const (
	Name       = "mainstay"
	NameLabel  = "app.kubernetes.io/name"
	suffix     = ".mainstay.dev"
	nsLabel    = "kubernetes.io/metadata.name"
	leasesOnly = "kube-node-lease"
	// markCondition is the name of the condition that mark adds.
	markCondition = "this-configuration"
	// enforcerAnnotation keeps a managed cluster's enforcer from narrowing the
	// entries.
	enforcerAnnotation = "admissions.enforcer/disabled"
	// ConfigurationAnnotation on the canary says which configuration has to
	// answer it.
	ConfigurationAnnotation = "mainstay.dev/configuration"
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

// desired is everything that the configuration depends on.
type desired struct {
	held        *declared
	endpoint    Endpoint
	bundle      []byte
	namespace   string
	syncAccount string
	// fail is the policy of the entries held and own, scaleFail that of scale
	// where fail is Fail.
	fail      bool
	scaleFail bool
	// timeout of the entries that may fail closed, in seconds; zero is
	// defaultTimeout.
	timeout int32
}

const defaultTimeout = 3

// declared is what the index declares, as the registration needs it.
type declared struct {
	// resources by group and version, and the namespaces that hold them; a
	// Namespace counts as in itself.
	resources  map[schema.GroupVersionResource]bool
	namespaces map[string]bool
	// holding are namespaces that may not be deleted; crds are the names of the
	// definitions that may not, either.
	holding map[string]bool
	crds    map[string]bool
	// own are Mainstay's own kinds that git declares.
	own map[string]bool
}

// read collects what the index declares.
func read(index *ownership.Index, namespace string) *declared {
	d := &declared{
		resources:  map[schema.GroupVersionResource]bool{},
		namespaces: map[string]bool{}, holding: map[string]bool{}, crds: map[string]bool{}, own: map[string]bool{},
	}
	for _, sync := range index.Syncs() {
		for _, e := range index.Entries(sync.Key()) {
			gvr := e.GVR()
			if unseen(gvr.GroupResource()) {
				continue
			}
			if e.Namespace != "" && e.Namespace != namespace {
				d.holding[e.Namespace] = true
			}
			if strings.Contains(gvr.Group, ".") {
				d.crds[gvr.Resource+"."+gvr.Group] = true
			}
			if gvr.Group == v1alpha1.GroupVersion.Group {
				d.own[gvr.Resource] = true
				continue
			}
			d.resources[gvr] = true
			switch {
			case e.Namespace != "":
				d.namespaces[e.Namespace] = true
			case gvr.GroupResource() == schema.GroupResource{Resource: "namespaces"}:
				d.namespaces[e.Name] = true
			}
		}
	}
	// What Mainstay itself runs on must be repairable by hand, and a node's
	// heartbeat never waits.
	delete(d.namespaces, namespace)
	delete(d.namespaces, leasesOnly)
	return d
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

// configuration builds what has to be in the cluster.
func (d desired) configuration() *admissionregistrationv1.ValidatingWebhookConfiguration {
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        Name,
			Labels:      map[string]string{NameLabel: "mainstay"},
			Annotations: map[string]string{enforcerAnnotation: "true"},
		},
	}
	if rules := d.rules(admissionregistrationv1.Update, admissionregistrationv1.Delete); len(rules) > 0 {
		held := d.entry(webhook.EntryHeld, rules, d.policy(true), cmp.Or(d.timeout, defaultTimeout))
		held.ObjectSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: v1alpha1.SyncLabel, Operator: metav1.LabelSelectorOpExists},
		}}
		held.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: nsLabel, Operator: metav1.LabelSelectorOpNotIn, Values: []string{leasesOnly, d.namespace}},
		}}
		c.Webhooks = append(c.Webhooks, held)
	}
	c.Webhooks = append(c.Webhooks, d.own())
	if rules := d.rules(admissionregistrationv1.Create); len(rules) > 0 {
		created := d.entry(webhook.EntryCreated, rules, admissionregistrationv1.Ignore, 1)
		created.NamespaceSelector = d.declaredNamespaces()
		created.MatchConditions = []admissionregistrationv1.MatchCondition{{
			Name: "not-by-mainstay", Expression: "request.userInfo.username != " + quote(d.syncAccount),
		}}
		c.Webhooks = append(c.Webhooks, created)
	}
	if rules := d.scaleRules(); len(rules) > 0 {
		timeout := int32(1)
		if d.scaleFail {
			timeout = cmp.Or(d.timeout, defaultTimeout)
		}
		scale := d.entry(webhook.EntryScale, rules, d.policy(d.scaleFail), timeout)
		scale.NamespaceSelector = d.declaredNamespaces()
		c.Webhooks = append(c.Webhooks, scale)
	}
	d.mark(c)
	return c
}

// policy is Fail only where that is wanted and proven.
func (d desired) policy(wanted bool) admissionregistrationv1.FailurePolicyType {
	if wanted && d.fail {
		return admissionregistrationv1.Fail
	}
	return admissionregistrationv1.Ignore
}

func (d desired) entry(entry string, rules []admissionregistrationv1.RuleWithOperations, policy admissionregistrationv1.FailurePolicyType, timeout int32) admissionregistrationv1.ValidatingWebhook {
	equivalent, sideEffects := admissionregistrationv1.Equivalent, admissionregistrationv1.SideEffectClassNoneOnDryRun
	return admissionregistrationv1.ValidatingWebhook{
		Name:                    entry + suffix,
		ClientConfig:            d.client(webhook.Path(entry)),
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

// rules has one rule for each group and version, in a fixed order.
func (d desired) rules(operations ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	return group(slices.Collect(maps.Keys(d.held.resources)), "", operations)
}

// scaleRules has the scale of what may have one: the built-in workloads, and
// custom resources, of which a rule does not need to know.
func (d desired) scaleRules() []admissionregistrationv1.RuleWithOperations {
	var scalable []schema.GroupVersionResource
	for gvr := range d.held.resources {
		builtIn := gvr.Group == "apps" && gvr.Resource != "daemonsets" && gvr.Resource != "controllerrevisions" ||
			gvr.Group == "" && gvr.Resource == "replicationcontrollers"
		custom := strings.Contains(gvr.Group, ".") && !strings.HasSuffix(gvr.Group, ".k8s.io")
		if builtIn || custom {
			scalable = append(scalable, gvr)
		}
	}
	return group(scalable, "/scale", []admissionregistrationv1.OperationType{admissionregistrationv1.Update})
}

func group(resources []schema.GroupVersionResource, subresource string, operations []admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	byVersion := map[schema.GroupVersion][]string{}
	for _, gvr := range resources {
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

func rule(gv schema.GroupVersion, operations []admissionregistrationv1.OperationType, resources ...string) admissionregistrationv1.RuleWithOperations {
	scope := admissionregistrationv1.AllScopes
	return admissionregistrationv1.RuleWithOperations{
		Operations: operations,
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{gv.Group}, APIVersions: []string{gv.Version}, Resources: resources, Scope: &scope,
		},
	}
}

func (d desired) declaredNamespaces() *metav1.LabelSelector {
	if len(d.held.namespaces) == 0 {
		// Everything declared is of cluster scope; a selector does not touch that.
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: nsLabel, Operator: metav1.LabelSelectorOpDoesNotExist},
		}}
	}
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: nsLabel, Operator: metav1.LabelSelectorOpIn, Values: slices.Sorted(maps.Keys(d.held.namespaces))},
	}}
}

// own is the entry for Mainstay's own things. Each matchCondition speaks of one
// resource, lets every other through, and can't fail: a field that may be
// absent is asked for first.
func (d desired) own() admissionregistrationv1.ValidatingWebhook {
	all := []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update, admissionregistrationv1.Delete}
	mainstay := v1alpha1.GroupVersion
	rules := []admissionregistrationv1.RuleWithOperations{
		rule(mainstay, all, "inventories"),
		rule(mainstay, []admissionregistrationv1.OperationType{admissionregistrationv1.Create}, "breakglasses"),
		rule(mainstay, all, "changepolicies"),
		rule(schema.GroupVersion{Version: "v1"}, all, "secrets"),
	}
	if len(d.held.own) > 0 {
		rules = append(rules, rule(mainstay, []admissionregistrationv1.OperationType{admissionregistrationv1.Update, admissionregistrationv1.Delete},
			slices.Sorted(maps.Keys(d.held.own))...))
	}
	sealed := func(doc string) string {
		return doc + " != null && has(" + doc + ".type) && " + doc + ".type.startsWith(" + quote(mainstay.Group+"/") + ")"
	}
	conditions := []admissionregistrationv1.MatchCondition{{
		Name: "sealed-secrets",
		Expression: `request.resource.resource != "secrets" || has(request.namespace) && request.namespace == ` + quote(d.namespace) +
			" && (" + sealed("object") + " || " + sealed("oldObject") + ")",
	}}
	if !d.held.own["changepolicies"] {
		// Where git declares ChangePolicies, the handler tells them apart.
		conditions = append(conditions, admissionregistrationv1.MatchCondition{
			Name: "policies-from-git",
			Expression: `request.resource.resource != "changepolicies" || (object != null ? object : oldObject).metadata.name.startsWith(` +
				quote(v1alpha1.GitSyncPolicyPrefix) + ")",
		})
	}
	if len(d.held.holding) > 0 {
		rules = append(rules, rule(schema.GroupVersion{Version: "v1"}, []admissionregistrationv1.OperationType{admissionregistrationv1.Delete}, "namespaces"))
		conditions = append(conditions, named("namespaces", d.held.holding))
	}
	if len(d.held.crds) > 0 {
		rules = append(rules, rule(schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"},
			[]admissionregistrationv1.OperationType{admissionregistrationv1.Update, admissionregistrationv1.Delete}, "customresourcedefinitions"))
		conditions = append(conditions, named("customresourcedefinitions", d.held.crds))
	}
	own := d.entry(webhook.EntryOwn, rules, d.policy(true), cmp.Or(d.timeout, defaultTimeout))
	own.MatchConditions = conditions
	return own
}

func named(resource string, names map[string]bool) admissionregistrationv1.MatchCondition {
	quoted := make([]string, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		quoted = append(quoted, quote(name))
	}
	return admissionregistrationv1.MatchCondition{
		Name: resource,
		Expression: fmt.Sprintf("request.resource.resource != %s || oldObject != null && oldObject.metadata.name in [%s]",
			quote(resource), strings.Join(quoted, ", ")),
	}
}

// mark adds the condition by which a canary tells whether this very
// configuration is in force: one that asks for another passes by unseen, which
// only a dry run may.
func (d desired) mark(c *admissionregistrationv1.ValidatingWebhookConfiguration) {
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

// digestOf names the content of a configuration.
func digestOf(c *admissionregistrationv1.ValidatingWebhookConfiguration) string {
	raw, err := json.Marshal(c.Webhooks)
	if err != nil {
		return "" // these types always encode
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// quote writes a CEL string. Names of namespaces, resources and accounts have
// nothing that CEL and Go would quote differently.
func quote(text string) string { return strconv.Quote(text) }
