// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"regexp"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// State of an object, in the words of kstatus.
type State string

// The states.
const (
	Current     State = "Current"
	InProgress  State = "InProgress"
	Failed      State = "Failed"
	Terminating State = "Terminating"
	NotFound    State = "NotFound"
	// Unknown: it was not seen yet, or its status can't be read.
	Unknown State = "Unknown"
)

// Result is the health of one object.
type Result struct {
	State State
	// Message says what is missing; empty for Current.
	Message string
	// Running tells that a Job is on its way: it is Current, and yet nobody who
	// waits for it may go on.
	Running bool
}

// Ready tells that the object is what it is meant to be.
func (r Result) Ready() bool { return r.State == Current }

// Done tells that what depends on the object may go on.
func (r Result) Done() bool { return r.State == Current && !r.Running }

// Of computes the health of a live object. What kstatus does not read of it is
// not looked at, so that it is cheap also for large objects.
func Of(gvk schema.GroupVersionKind, live *fastjson.Value) Result {
	if !live.Exists("metadata", "deletionTimestamp") && !live.Exists("status") && withoutStatus[gvk.GroupKind()] {
		return Result{State: Current}
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind,
		"metadata": fields(live.Get("metadata"), "name", "namespace", "generation", "deletionTimestamp"),
		"spec":     fields(live.Get("spec"), "clusterIP", "type", "completions", "parallelism", "progressDeadlineSeconds", "replicas", "updateStrategy"),
	}}
	if s := live.Get("status"); s != nil {
		u.Object["status"] = value(s)
	}
	computed, err := status.Compute(u)
	if err != nil {
		return Result{State: Unknown, Message: "its status can't be read: " + err.Error()}
	}
	r := Result{State: State(computed.Status)}
	if r.State == Current {
		r.Running = gvk.Group == "batch" && gvk.Kind == "Job" && strings.HasPrefix(computed.Message, "Job in progress")
		return r
	}
	r.Message = plain(computed.Message)
	return r
}

// withoutStatus are common kinds of which none ever has a status: nothing has
// to be computed for them.
var withoutStatus = map[schema.GroupKind]bool{
	{Kind: "ConfigMap"}: true, {Kind: "Secret"}: true, {Kind: "ServiceAccount"}: true,
	{Kind: "Namespace"}: true,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:                              true,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:                       true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:                       true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}:                true,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:                             true,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:                             true,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                                 true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:   true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}: true,
}

// counted is how kstatus counts, such as "Available: 1/3".
var counted = regexp.MustCompile(`^(Replicas|Updated|Available|Ready|Labelled|Current|current|updated|Pods): (\d+)/(\d+)$`)

// plain turns kstatus's shorthand into words.
func plain(message string) string {
	m := counted.FindStringSubmatch(message)
	if m == nil {
		return strings.TrimSuffix(message, ".")
	}
	words := m[2] + " of " + m[3] + " replicas"
	if what := strings.ToLower(m[1]); what != "replicas" {
		words += " " + what
	}
	return words
}

// fields copies some fields of an object.
func fields(object *fastjson.Value, names ...string) map[string]any {
	out := make(map[string]any, len(names))
	for _, name := range names {
		if v := object.Get(name); v != nil {
			out[name] = value(v)
		}
	}
	return out
}

// value turns JSON into what unstructured objects are made of: whole numbers
// are int64.
func value(v *fastjson.Value) any {
	switch v.Type() {
	case fastjson.TypeObject:
		out := map[string]any{}
		v.GetObject().Visit(func(key []byte, v *fastjson.Value) { out[string(key)] = value(v) })
		return out
	case fastjson.TypeArray:
		items := v.GetArray()
		out := make([]any, len(items))
		for i, item := range items {
			out[i] = value(item)
		}
		return out
	case fastjson.TypeString:
		return string(v.GetStringBytes())
	case fastjson.TypeNumber:
		if n, err := v.Int64(); err == nil {
			return n
		}
		return v.GetFloat64()
	case fastjson.TypeTrue:
		return true
	case fastjson.TypeFalse:
		return false
	case fastjson.TypeNull:
	}
	return nil
}
