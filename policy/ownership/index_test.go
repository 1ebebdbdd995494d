// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

var (
	shop = types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}
	till = types.NamespacedName{Namespace: "mainstay-system", Name: "till"}
)

func gitSync(key types.NamespacedName, generation int64) *ownership.Sync {
	return &ownership.Sync{Namespace: key.Namespace, Name: key.Name, Generation: generation}
}

func deployment(name string) *ownership.Entry {
	return &ownership.Entry{
		ID:      ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: name},
		Version: "v1", Resource: "deployments",
		Applied: &ownership.Content{File: name + ".yaml", Fields: []byte(`{"f:spec":{"f:replicas":{}}}`)},
	}
}

func clusterRole(name string) *ownership.Entry {
	return &ownership.Entry{
		ID:      ownership.ID{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: name},
		Version: "v1", Resource: "clusterroles",
	}
}

func replace(t *testing.T, x *ownership.Index, sync *ownership.Sync, entries ...*ownership.Entry) {
	t.Helper()
	if err := x.Replace(sync, entries); err != nil {
		t.Fatal(err)
	}
}

func path(t *testing.T, text string) fieldset.Path {
	t.Helper()
	p, err := fieldset.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReplaceIsTheWholeOfWhatAGitSyncDeclares(t *testing.T) {
	x := ownership.NewIndex()
	web, api := deployment("web"), deployment("api")
	replace(t, x, gitSync(shop, 1), web, api)
	if r, ok := x.Lookup(web.ID); !ok || r.Sync.Name != "shop" || r.Entry != web {
		t.Fatalf("Lookup(%s) = %+v, %t", web.ID, r, ok)
	}
	replace(t, x, gitSync(shop, 2), web)
	if _, ok := x.Lookup(api.ID); ok {
		t.Errorf("%s is declared still", api.ID)
	}
	if diff := cmp.Diff(map[ownership.ID]*ownership.Entry{web.ID: web}, x.Entries(shop)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if x.Len() != 1 {
		t.Errorf("Len() = %d, want 1", x.Len())
	}
}

func TestAGenerationThatIsNotNewerChangesNothing(t *testing.T) {
	for name, generation := range map[string]int64{"the same": 5, "an older one": 4} {
		t.Run(name, func(t *testing.T) {
			x := ownership.NewIndex()
			web := deployment("web")
			replace(t, x, gitSync(shop, 5), web)
			changed := x.Changed()
			replace(t, x, gitSync(shop, generation))
			if _, ok := x.Lookup(web.ID); !ok {
				t.Error("an object was let go")
			}
			select {
			case <-changed:
				t.Error("a change was announced")
			default:
			}
		})
	}
}

func TestTheFirstOwnerKeepsAnObject(t *testing.T) {
	x := ownership.NewIndex()
	mine, theirs := deployment("web"), deployment("web")
	replace(t, x, gitSync(shop, 1), mine)
	replace(t, x, gitSync(till, 1), theirs, deployment("till"))
	if r, _ := x.Lookup(mine.ID); r == nil || r.Entry != mine {
		t.Fatalf("the record is %+v, want that of the first owner", r)
	}
	t.Run("also when the second one goes", func(t *testing.T) {
		x.Remove(till)
		if r, _ := x.Lookup(mine.ID); r == nil || r.Entry != mine {
			t.Errorf("the record is %+v, want that of the first owner", r)
		}
	})
	t.Run("until it lets go", func(t *testing.T) {
		replace(t, x, gitSync(shop, 2))
		replace(t, x, gitSync(till, 1), theirs)
		if r, _ := x.Lookup(mine.ID); r == nil || r.Entry != theirs {
			t.Errorf("the record is %+v, want that of the second owner", r)
		}
	})
}

func TestRemoveForgetsAGitSyncAndItsObjects(t *testing.T) {
	x := ownership.NewIndex()
	web := deployment("web")
	replace(t, x, gitSync(shop, 7), web)
	replace(t, x, gitSync(till, 1), deployment("till"))
	x.Remove(shop)
	if _, ok := x.Sync(shop); ok {
		t.Error("the GitSync is known still")
	}
	if _, ok := x.Lookup(web.ID); ok {
		t.Error("its object is declared still")
	}
	if syncs := x.Syncs(); len(syncs) != 1 || syncs[0].Name != "till" {
		t.Errorf("Syncs() = %v, want till alone", syncs)
	}
	t.Run("so that one of the same name starts anew", func(t *testing.T) {
		replace(t, x, gitSync(shop, 1), web)
		if _, ok := x.Lookup(web.ID); !ok {
			t.Error("its object is not declared")
		}
	})
}

func TestAFieldSetThatCannotBeReadChangesNothing(t *testing.T) {
	x := ownership.NewIndex()
	web := deployment("web")
	replace(t, x, gitSync(shop, 1), web)
	bad := deployment("api")
	bad.Applied.Fields = []byte(`{"f:spec":`)
	err := x.Replace(gitSync(shop, 2), []*ownership.Entry{bad})
	if err == nil || !strings.Contains(err.Error(), "Deployment.apps shop/api") {
		t.Errorf("got %v, want an error that names the object", err)
	}
	if _, ok := x.Lookup(web.ID); !ok {
		t.Error("an object was let go")
	}
}

func TestFieldSetsFollowTheirContents(t *testing.T) {
	x := ownership.NewIndex()
	replicas, paused := path(t, "spec.replicas"), path(t, "spec.paused")
	web := deployment("web")
	replace(t, x, gitSync(shop, 1), web)

	attempted := *web
	attempted.Attempted = &ownership.Content{Fields: []byte(`{"f:spec":{"f:paused":{}}}`)}
	replace(t, x, gitSync(shop, 2), &attempted)
	r, _ := x.Lookup(web.ID)
	if !r.AppliedSet.Touches(replicas) || !r.AttemptedSet.Touches(paused) || r.AttemptedSet.Touches(replicas) {
		t.Error("during a sync, the applied or the attempted field set is wrong")
	}

	applied := attempted
	applied.Applied, applied.Attempted = attempted.Attempted, nil
	replace(t, x, gitSync(shop, 3), &applied)
	r, _ = x.Lookup(web.ID)
	if !r.AppliedSet.Touches(paused) || r.AppliedSet.Touches(replicas) || r.AttemptedSet.Touches(paused) {
		t.Error("after a sync, the applied field set is not that of the applied content")
	}
}

func TestAnObjectIsFoundByItsResource(t *testing.T) {
	x := ownership.NewIndex()
	web := deployment("web")
	replace(t, x, gitSync(shop, 1), web)
	for name, tt := range map[string]struct {
		resource        schema.GroupResource
		namespace, name string
		want            bool
	}{
		"its own resource":                   {schema.GroupResource{Group: "apps", Resource: "deployments"}, "shop", "web", true},
		"another object of it":               {schema.GroupResource{Group: "apps", Resource: "deployments"}, "shop", "api", false},
		"another namespace":                  {schema.GroupResource{Group: "apps", Resource: "deployments"}, "other", "web", false},
		"a resource that was never declared": {schema.GroupResource{Group: "apps", Resource: "statefulsets"}, "shop", "web", false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, ok := x.LookupResource(tt.resource, tt.namespace, tt.name); ok != tt.want {
				t.Errorf("found = %t, want %t", ok, tt.want)
			}
		})
	}
}

func TestDeclaredListsResourcesWithTheirNamespaces(t *testing.T) {
	x := ownership.NewIndex()
	other := deployment("web")
	other.Namespace = "other"
	replace(t, x, gitSync(shop, 1), deployment("web"), deployment("api"), other)
	replace(t, x, gitSync(till, 1), clusterRole("reader"))
	want := []ownership.Declared{
		{GVR: schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, Kind: "Deployment", Namespaces: []string{"other", "shop"}},
		{GVR: schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}, Kind: "ClusterRole"},
	}
	if diff := cmp.Diff(want, x.Declared()); diff != "" {
		t.Errorf("declared (-want +got):\n%s", diff)
	}
	x.Remove(shop)
	if diff := cmp.Diff(want[1:], x.Declared()); diff != "" {
		t.Errorf("declared, after a GitSync went (-want +got):\n%s", diff)
	}
}

func TestEveryChangeIsAnnounced(t *testing.T) {
	x := ownership.NewIndex()
	for what, change := range map[string]func(){
		"Replace": func() { replace(t, x, gitSync(shop, 1), deployment("web")) },
		"Remove":  func() { replace(t, x, gitSync(till, 1)); x.Remove(till) },
	} {
		changed := x.Changed()
		change()
		select {
		case <-changed:
		default:
			t.Errorf("%s was not announced", what)
		}
	}
	changed := x.Changed()
	x.Remove(types.NamespacedName{Name: "unknown"})
	select {
	case <-changed:
		t.Error("removing what is not there was announced")
	default:
	}
}

func TestAwait(t *testing.T) {
	t.Run("returns once a change makes it true", func(t *testing.T) {
		x := ownership.NewIndex()
		asked := make(chan struct{}, 10)
		result := make(chan bool)
		go func() {
			result <- x.Await(t.Context(), func() bool {
				asked <- struct{}{}
				return x.Len() == 2
			})
		}()
		<-asked
		replace(t, x, gitSync(shop, 1), deployment("web"))
		<-asked
		replace(t, x, gitSync(shop, 2), deployment("web"), deployment("api"))
		if !<-result {
			t.Error("got false, want true")
		}
	})
	t.Run("returns false when its context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if ownership.NewIndex().Await(ctx, func() bool { return false }) {
			t.Error("got true, want false")
		}
	})
}

func TestPlaceIsTheNearestKnownLine(t *testing.T) {
	c := &ownership.Content{
		File: "base/web.yaml", Line: 3,
		Desired: []byte(`{"metadata":{"annotations":{"a/b":"x"}},"spec":{"replicas":2,"containers":[{"name":"a","image":"i"},{"name":"b","image":"j"}]}}`),
		Lines: "\n/metadata/annotations/a~1b\t5\n/spec\t7\n/spec/replicas\tprod/replicas:2.yaml:8\n" +
			"/spec/containers\tprod/web.yaml:10\n/spec/containers/1/image\t12\n",
	}
	for text, want := range map[string]string{
		"spec.replicas":                 "prod/replicas:2.yaml:8",
		"spec.containers[name=b].image": "base/web.yaml:12",
		"spec.containers[name=a].image": "prod/web.yaml:10",
		"spec.paused":                   "base/web.yaml:7",
		"spec.containers[name=c].image": "prod/web.yaml:10",
		`metadata.annotations["a/b"]`:   "base/web.yaml:5",
		"metadata.labels":               "base/web.yaml:3",
		"data.key":                      "base/web.yaml:3",
	} {
		file, line := c.Place(path(t, text))
		if got := fmt.Sprintf("%s:%d", file, line); got != want {
			t.Errorf("Place(%s) = %s, want %s", text, got, want)
		}
	}
	if file, line := (&ownership.Content{File: "a.yaml", Line: 4}).Place(path(t, "spec.replicas")); file != "a.yaml" || line != 4 {
		t.Errorf("without lines: %s:%d, want a.yaml:4", file, line)
	}
}

func TestASecondOwnerTakesOverWhatTheFirstLetsGo(t *testing.T) {
	for name, letGo := range map[string]func(x *ownership.Index){
		"by a newer inventory": func(x *ownership.Index) {
			must(t, x.Replace(&ownership.Sync{Namespace: "mainstay-system", Name: "first", Generation: 2}, nil))
		},
		"by being removed": func(x *ownership.Index) {
			x.Remove(types.NamespacedName{Namespace: "mainstay-system", Name: "first"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := ownership.NewIndex()
			id := ownership.ID{Kind: "ConfigMap", Namespace: "shop", Name: "c"}
			for _, sync := range []string{"first", "second"} {
				must(t, x.Replace(&ownership.Sync{Namespace: "mainstay-system", Name: sync, Generation: 1},
					[]*ownership.Entry{{ID: id, Version: "v1", Resource: "configmaps"}}))
			}
			if r, ok := x.Lookup(id); !ok || r.Sync.Name != "first" {
				t.Fatalf("owner = %v, want first", r)
			}
			letGo(x)
			if r, ok := x.Lookup(id); !ok || r.Sync.Name != "second" {
				t.Errorf("owner = %v, want second: the object would be free", r)
			}
		})
	}
}
