// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/health"
)

func TestOf(t *testing.T) {
	deployment := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	job := schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
	custom := schema.GroupVersionKind{Group: "shop.example", Version: "v1", Kind: "Widget"}
	for name, tt := range map[string]struct {
		gvk  schema.GroupVersionKind
		live string
		want health.Result
	}{
		"a kind without status is healthy once it is there": {
			schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"},
			`{"metadata": {"name": "a"}}`,
			health.Result{State: health.Current},
		},
		"unless it is being deleted": {
			schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"},
			`{"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}`,
			health.Result{State: health.Terminating, Message: "Resource scheduled for deletion"},
		},
		"a new Deployment of which the controller knows nothing": {
			deployment, `{"metadata": {"generation": 1}, "spec": {"replicas": 3}, "status": {}}`,
			health.Result{State: health.InProgress, Message: "0 of 3 replicas"},
		},
		"a Deployment that was changed just now, though its status looks fine": {
			deployment, `{"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1}}`,
			health.Result{State: health.InProgress, Message: "Deployment generation is 2, but latest observed generation is 1"},
		},
		"a Deployment on its way": {
			deployment, `{"metadata": {"generation": 1}, "spec": {"replicas": 3, "template": {"x": 1}}, "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 1, "readyReplicas": 1}}`,
			health.Result{State: health.InProgress, Message: "1 of 3 replicas available"},
		},
		"a Deployment whose replicas are available": {
			deployment, `{"metadata": {"generation": 1}, "spec": {"replicas": 1, "progressDeadlineSeconds": 600}, "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1,
				"conditions": [{"type": "Available", "status": "True"}, {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}}`,
			health.Result{State: health.Current},
		},
		"a Deployment that does not get on": {
			deployment, `{"metadata": {"generation": 1}, "spec": {"replicas": 1}, "status": {"observedGeneration": 1, "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}}`,
			health.Result{State: health.Failed, Message: "Progress deadline exceeded"},
		},
		"a Job that runs is current, but nobody may go on who waits for it": {
			job, `{"metadata": {"generation": 1}, "spec": {}, "status": {"startTime": "2026-01-01T00:00:00Z", "active": 1}}`,
			health.Result{State: health.Current, Running: true},
		},
		"a Job that is complete": {
			job, `{"metadata": {"generation": 1}, "spec": {}, "status": {"startTime": "2026-01-01T00:00:00Z", "succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}}`,
			health.Result{State: health.Current},
		},
		"a Job that failed": {
			job, `{"metadata": {"generation": 1}, "spec": {}, "status": {"failed": 1, "conditions": [{"type": "Failed", "status": "True"}]}}`,
			health.Result{State: health.Failed, Message: "Job Failed. failed: 1/1"},
		},
		"a custom resource with the condition Ready=False": {
			custom, `{"metadata": {"generation": 1}, "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "NoDisk", "message": "waits for a disk."}]}}`,
			health.Result{State: health.InProgress, Message: "waits for a disk"},
		},
		"a custom resource that says it is stalled": {
			custom, `{"metadata": {"generation": 1}, "status": {"conditions": [{"type": "Stalled", "status": "True", "message": "no such class"}]}}`,
			health.Result{State: health.Failed, Message: "no such class"},
		},
		"a custom resource that says nothing": {
			custom, `{"metadata": {"generation": 1}, "spec": {"a": 1}}`,
			health.Result{State: health.Current},
		},
		"a status that makes no sense is never healthy": {
			custom, `{"metadata": {"generation": 1}, "status": {"conditions": "none"}}`,
			health.Result{State: health.Unknown},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := health.Of(tt.gvk, fastjson.MustParse(tt.live))
			if tt.want.State == health.Unknown {
				got.Message = "" // the parser's words
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("health (-want +got):\n%s", diff)
			}
		})
	}
}

func id(kind, name string) ownership.ID {
	return ownership.ID{Kind: kind, Namespace: "shop", Name: name}
}

func TestTheBoardGoesByTheNewestObject(t *testing.T) {
	var news []string
	b := health.NewBoard(func(id ownership.ID) { news = append(news, id.Name) })
	web := id("Deployment", "web")
	waits := health.Result{State: health.InProgress, Message: "0 of 1 replicas"}
	current := health.Result{State: health.Current}

	if got := b.Of(web); got.State != health.Unknown || got.Ready() {
		t.Errorf("what nobody has seen is %+v", got)
	}
	b.Saw(web, "10", current)
	b.Wrote(web, "20", waits)
	b.Saw(web, "15", current) // the watch lags behind the write
	if got := b.Of(web); got != waits {
		t.Errorf("an object from before the write counts: %+v", got)
	}
	b.Saw(web, "20", waits)
	b.Saw(web, "21", current)
	if got := b.Of(web); got != current {
		t.Errorf("got %+v, want the newest", got)
	}
	b.Gone(web)
	if got := b.Of(web); got.State != health.NotFound {
		t.Errorf("a missing object is %+v", got)
	}
	if diff := cmp.Diff([]string{"web", "web", "web", "web"}, news); diff != "" {
		t.Errorf("only what changes is news (-want +got):\n%s", diff)
	}
}

func TestSummary(t *testing.T) {
	b := health.NewBoard(nil)
	objects := []health.Object{
		{ID: id("ConfigMap", "a"), Result: health.Result{State: health.Current}},
		{ID: id("Deployment", "web"), Result: health.Result{State: health.InProgress, Message: "1 of 3 replicas"}},
		{ID: id("Deployment", "api"), Result: health.Result{State: health.Failed, Message: "Progress deadline exceeded"}},
		{ID: id("Widget", "x"), Result: b.Of(id("Widget", "x"))},
		{ID: ownership.ID{Kind: "ClusterThing", Name: "y"}, Result: health.Result{State: health.NotFound}},
	}
	s := health.Summarize(objects)
	if s.Ready != 1 || s.Failed != 1 || s.Unseen != 1 {
		t.Errorf("%+v", s)
	}
	want := "1 of 5 ready; waiting for Deployment shop/api: Progress deadline exceeded; ClusterThing y: NotFound; Deployment shop/web: 1 of 3 replicas; and 1 more"
	if s.String() != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if got := health.Summarize(objects[:1]).String(); got != "1 of 1 ready" {
		t.Errorf("got %q", got)
	}
}
