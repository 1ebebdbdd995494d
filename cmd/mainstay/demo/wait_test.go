// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
)

func web(replicas int64) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "namespace": "shop"},
		"spec":     map[string]any{"replicas": replicas},
	}}
}

// watched returns a client with each of the watches in turn.
func watched(watches ...*apiwatch.FakeWatcher) *fake.FakeDynamicClient {
	client := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{
		deployments: "DeploymentList",
	})
	client.PrependWatchReactor("deployments", func(clienttesting.Action) (bool, apiwatch.Interface, error) {
		if len(watches) == 0 {
			return true, nil, errors.New("no more watches")
		}
		next := watches[0]
		watches = watches[1:]
		return true, next, nil
	})
	return client
}

func aStage() *stage {
	return &stage{step: &Step{}, out: newPrinter(Options{Story: &strings.Builder{}})}
}

func TestAWaitEndsOnceTheValuesWereSeenInTheirOrder(t *testing.T) {
	first, second := apiwatch.NewFake(), apiwatch.NewFake()
	w, err := expect(t.Context(), watched(first, second), replicasOf("web"), "9", absent, "2")
	if err != nil {
		t.Fatal(err)
	}
	first.Add(web(2)) // Not yet: 9 comes before.
	first.Modify(web(9))
	first.Modify(web(3))
	first.Stop() // As the API server does now and then.
	second.Delete(web(3))
	select {
	case e := <-w.ended:
		t.Fatalf("ended with %v before the last value", e)
	default:
	}
	second.Add(web(2))
	if at, err := w.done(aStage()); err != nil || at.IsZero() {
		t.Errorf("got %s, %v, want a time", at, err)
	}
}

func TestAWaitThatEndsTooEarlySaysWhatItIsInstead(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	events := apiwatch.NewFake()
	w, err := expect(ctx, watched(events), replicasOf("web"), "6")
	if err != nil {
		t.Fatal(err)
	}
	events.Add(web(2))
	events.Modify(web(2)) // Taken only after the first was read.
	cancel()
	_, err = w.done(aStage())
	const want = "expected the replicas of deployment web to become 6; it is 2"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
