// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"cmp"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/util/jsonpath"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// kinds finds the kind of a resource, of one that a test defines as well.
var kinds *restmapper.DeferredDiscoveryRESTMapper

func knowKinds() error {
	config, err := shared.State.RESTConfig("admin")
	if err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	kinds = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	return nil
}

func kindOf(t *testing.T, resource string) schema.GroupVersionKind {
	t.Helper()
	asked := schema.ParseGroupResource(resource).WithVersion("")
	gvk, err := kinds.KindFor(asked)
	if meta.IsNoMatchError(err) {
		kinds.Reset() // it may be new
		gvk, err = kinds.KindFor(asked)
	}
	world.Must(t, err)
	return gvk
}

// live reads a value as kubectl get -o jsonpath would, without a process for
// each look: "absent" where there is none. The object is "kind name" or "kind
// name -n namespace".
func live(t *testing.T, object, path string) string {
	t.Helper()
	kind, rest, _ := strings.Cut(object, " ")
	name, within, _ := strings.Cut(rest, " -n ")
	u := new(unstructured.Unstructured)
	u.SetGroupVersionKind(kindOf(t, kind))
	err := shared.Client.Get(world.Lasting(t), client.ObjectKey{Namespace: within, Name: name}, u)
	if apierrors.IsNotFound(err) {
		return "absent"
	}
	world.Must(t, err)
	query := jsonpath.New("live").AllowMissingKeys(true)
	world.Must(t, query.Parse("{"+path+"}"))
	var out strings.Builder
	world.Must(t, query.Execute(&out, u.Object))
	return cmp.Or(out.String(), "absent")
}
