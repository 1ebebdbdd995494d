// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

const (
	shopNamespace     = "shop"
	mainstayNamespace = "mainstay-system"
	configuration     = "mainstay"
)

var (
	deployments    = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	syncs          = schema.GroupVersionResource{Group: "mainstay.dev", Version: "v1alpha1", Resource: "gitsyncs"}
	configurations = schema.GroupVersionResource{
		Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations",
	}
)

// field is one value of one object.
type field struct {
	resource        schema.GroupVersionResource
	namespace, name string
	// what it is, in words.
	what string
	// of reads it. It is not called for an object that is not there: then the
	// value is absent.
	of func(*unstructured.Unstructured) string
}

const absent = "absent"

func (f field) String() string { return f.what }

func imageOf(deployment string) field {
	return field{deployments, shopNamespace, deployment, "the image of deployment " + deployment, func(o *unstructured.Unstructured) string {
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if len(containers) == 0 {
			return ""
		}
		container, _ := containers[0].(map[string]any)
		image, _ := container["image"].(string)
		return image
	}}
}

func replicasOf(deployment string) field {
	return field{deployments, shopNamespace, deployment, "the replicas of deployment " + deployment, func(o *unstructured.Unstructured) string {
		replicas, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
		return strconv.FormatInt(replicas, 10)
	}}
}

// conditionOf is a condition's status.
func conditionOf(condition string) field {
	return field{syncs, mainstayNamespace, "shop", condition + " of GitSync shop", func(o *unstructured.Unstructured) string {
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		for _, entry := range conditions {
			if c, _ := entry.(map[string]any); c["type"] == condition {
				return fmt.Sprint(c["status"])
			}
		}
		return absent
	}}
}

// appliedRevision is the commit that was applied last.
func appliedRevision() field {
	return field{syncs, mainstayNamespace, "shop", "the commit that GitSync shop has applied", func(o *unstructured.Unstructured) string {
		revision, _, _ := unstructured.NestedString(o.Object, "status", "lastAppliedRevision")
		return revision[strings.LastIndex(revision, ":")+1:]
	}}
}

func theConfiguration() field {
	return field{configurations, "", configuration, "the webhook configuration", func(*unstructured.Unstructured) string { return "present" }}
}

// wait waits until a field has had some values, one after the other.
type wait struct {
	field  field
	values []string
	ended  chan end
}

type end struct {
	at  time.Time
	err error
}

// expect begins to watch now, so that what happens between it and the call of
// done is not missed. Other values may come between those that are awaited.
func expect(ctx context.Context, client dynamic.Interface, f field, values ...string) (*wait, error) {
	events, err := watch(ctx, client, f)
	if err != nil {
		return nil, err
	}
	w := &wait{field: f, values: values, ended: make(chan end, 1)}
	go func() {
		at, err := w.follow(ctx, client, events)
		w.ended <- end{at, err}
	}()
	return w, nil
}

func watch(ctx context.Context, client dynamic.Interface, f field) (apiwatch.Interface, error) {
	events, err := client.Resource(f.resource).Namespace(f.namespace).
		Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + f.name})
	if err != nil {
		return nil, fmt.Errorf("watch %s %s: %w", f.resource.Resource, f.name, err)
	}
	return events, nil
}

// follow begins again where the API server ends the watch.
func (w *wait) follow(ctx context.Context, client dynamic.Interface, events apiwatch.Interface) (time.Time, error) {
	defer func() { events.Stop() }()
	seen, last := 0, absent
	for {
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("expected %s to become %s; it is %s: %w",
				w.field, strings.Join(w.values, " and then "), last, context.Cause(ctx))
		case event, ok := <-events.ResultChan():
			if !ok || event.Type == apiwatch.Error {
				events.Stop()
				var err error
				if events, err = watch(ctx, client, w.field); err != nil {
					return time.Time{}, err
				}
				continue
			}
			last = w.field.read(event)
			if last != w.values[seen] {
				continue
			}
			if seen++; seen == len(w.values) {
				return time.Now(), nil
			}
		}
	}
}

func (f field) read(event apiwatch.Event) string {
	object, ok := event.Object.(*unstructured.Unstructured)
	if !ok || event.Type == apiwatch.Deleted {
		return absent
	}
	return f.of(object)
}

// done returns when the last value was seen.
func (w *wait) done(on *stage) (time.Time, error) {
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for {
		select {
		case e := <-w.ended:
			return e.at, e.err
		case <-patience.C:
			on.out.waiting(fmt.Sprintf("until %s is %s", w.field, w.values[len(w.values)-1]))
		}
	}
}
