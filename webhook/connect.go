// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// podTimeout is how long the question for a pod may take.
const podTimeout = 500 * time.Millisecond

// podSubresources of the entry connect, by operation.
var podSubresources = map[policy.Operation][]string{
	policy.Connect: {"attach", "exec", "portforward"},
	policy.Create:  {"eviction"},
	policy.Update:  {"ephemeralcontainers", "resize"},
}

// checkConnect tells what is wrong with a review of the entry connect.
func (req *request) checkConnect() error {
	switch {
	case req.resource.GroupResource() != schema.GroupResource{Resource: "pods"} ||
		!slices.Contains(podSubresources[req.operation], req.subResource):
		return fmt.Errorf("%s of %s/%s is not registered", req.operation, req.resource.GroupResource(), req.subResource)
	case req.operation != policy.Connect && req.object == nil,
		req.operation == policy.Update && req.oldObject == nil:
		return fmt.Errorf("%s of %s without an object", req.operation, req.subResource)
	}
	return nil
}

// podMeta is what tells the workload of a pod.
type podMeta struct {
	group, kind, name string // of the controller; empty for none
	hash              string // pod-template-hash
	deleting          bool
}

// connect judges the use of a pod: permitted unless a deny rule speaks against
// it, for pods of declared workloads. What a review changes of a pod that git
// itself declares is judged like any change.
func (h *Handler) connect(ctx context.Context, req *request) answer {
	pod, err := h.pod(ctx, req)
	switch {
	case apierrors.IsNotFound(err):
		return permitted() // the API server says so itself
	case err != nil && h.off():
		return permitted()
	case err != nil:
		return h.unknownPod(ctx, req, err)
	}
	record := h.workload(req.id, pod)
	if record == nil {
		return permitted()
	}
	change := &policy.Change{
		Origin: policy.OriginRequest, Operation: req.operation, SubResource: req.subResource, DryRun: req.dryRun,
		Kind: record.GVK(), Resource: record.GVR(), Object: req.object, OldObject: req.oldObject,
		Record: record, Pod: req.id.Name, Time: h.options.Clock(),
	}
	if record.ID == req.id {
		if req.operation == policy.Update {
			return h.held(ctx, req, record)
		}
		if req.operation == policy.Create { // the eviction deletes the declared object itself
			if record.Pruning || pod.deleting || h.terminating(req.id.Namespace) {
				return permitted()
			}
			change.Operation = policy.Delete
		}
	}
	return h.conclude(ctx, req, change, nil)
}

// pod returns what tells the workload of a pod: the review of an update has it,
// for all others it takes one question, of metadata only.
func (h *Handler) pod(ctx context.Context, req *request) (podMeta, error) {
	if old := req.oldObject; req.operation == policy.Update {
		pod := podMeta{
			hash:     string(old.GetStringBytes("metadata", "labels", "pod-template-hash")),
			deleting: req.deleting(),
		}
		for _, owner := range old.GetArray("metadata", "ownerReferences") {
			if owner.GetBool("controller") {
				pod.controlledBy(string(owner.GetStringBytes("apiVersion")), string(owner.GetStringBytes("kind")), string(owner.GetStringBytes("name")))
			}
		}
		return pod, nil
	}
	if h.options.Pod == nil {
		return podMeta{}, errors.New("nothing tells which pods there are")
	}
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	found, err := h.options.Pod(ctx, req.id.Namespace, req.id.Name)
	if err != nil {
		return podMeta{}, err
	}
	pod := podMeta{hash: found.Labels["pod-template-hash"], deleting: found.DeletionTimestamp != nil}
	if owner := metav1.GetControllerOfNoCopy(found); owner != nil {
		pod.controlledBy(owner.APIVersion, owner.Kind, owner.Name)
	}
	return pod, nil
}

func (p *podMeta) controlledBy(apiVersion, kind, name string) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return // no object has such a version
	}
	p.group, p.kind, p.name = gv.Group, kind, name
}

// workload finds the record of the declared workload that a pod belongs to, or
// of the pod itself; nil where git declares neither.
func (h *Handler) workload(id ownership.ID, pod podMeta) *ownership.Record {
	lookup := func(group, kind, name string) *ownership.Record {
		record, ok := h.options.Index.Lookup(ownership.ID{Group: group, Kind: kind, Namespace: id.Namespace, Name: name})
		if !ok {
			return nil
		}
		return record
	}
	if record := lookup("", "Pod", id.Name); record != nil || pod.name == "" {
		return record
	}
	if record := lookup(pod.group, pod.kind, pod.name); record != nil {
		return record
	}
	parent, suffix := cutLast(pod.name)
	switch {
	case pod.group == "apps" && pod.kind == "ReplicaSet":
		// The label says where the hash begins, but anyone may change it.
		if name, ok := strings.CutSuffix(pod.name, "-"+pod.hash); ok && pod.hash != "" {
			parent = name
		}
		return lookup("apps", "Deployment", parent)
	case pod.group == "batch" && pod.kind == "Job" && digits(suffix):
		return lookup("batch", "CronJob", parent)
	}
	return nil
}

// cutLast cuts a name at its last dash.
func cutLast(name string) (before, after string) {
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// unknownPod refuses, since nobody knows whether a deny rule speaks of the pod.
func (h *Handler) unknownPod(ctx context.Context, req *request, err error) answer {
	h.report(ctx, fmt.Errorf("find the workload of pod %s/%s: %w", req.id.Namespace, req.id.Name, err))
	record := h.ownRecord(req)
	record.Version = "v1"
	change := &policy.Change{
		Origin: policy.OriginRequest, Operation: req.operation, SubResource: req.subResource, DryRun: req.dryRun, User: req.user(),
		Kind: record.GVK(), Resource: record.GVR(), Pod: req.id.Name, Record: record, Time: h.options.Clock(),
	}
	decision := policy.Decision{
		ID: newID(), Verdict: policy.Refuse, Class: policy.RuleError, Elapsed: time.Since(req.started),
		Reason: "Mainstay could not find out which workload the pod belongs to, and a policy may be against it: try again",
	}
	h.options.Recorder.Record(change, decision)
	return h.answer(ctx, change, decision)
}
