// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/seal"
	"github.com/mainstay-gitops/mainstay/sync/inventory"
	"github.com/mainstay-gitops/mainstay/test/apiserver"
)

func TestMain(m *testing.M) {
	os.Exit(apiserver.Main(m, apiserver.Options{WithoutControllerManager: true}))
}

// cluster is a namespace of a real API server, with a Store on it.
type cluster struct {
	t      *testing.T
	client client.Client
	key    *seal.Key
	sync   types.NamespacedName
	index  *ownership.Index
	store  *inventory.Store
	// creates counts the writes of new objects; the one of that number, and
	// every one after it, fails where failAt is not zero.
	creates, failAt atomic.Int64
	// failHead makes the write of the head fail.
	failHead atomic.Bool
}

var errCut = errors.New("the process was killed")

func newCluster(t *testing.T) *cluster {
	t.Helper()
	config := rest.CopyConfig(apiserver.Config(t, "admin"))
	config.QPS = -1
	scheme := runtime.NewScheme()
	must(t, errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	direct, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	must(t, err)
	secret, err := seal.Generate()
	must(t, err)
	key, err := seal.NewKey(secret)
	must(t, err)
	c := &cluster{t: t, key: key, sync: types.NamespacedName{Namespace: apiserver.Namespace(t), Name: "shop"}}
	c.client = interceptor.NewClient(direct, interceptor.Funcs{
		Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, chunk := o.(*corev1.Secret); chunk {
				if n := c.creates.Add(1); c.failAt.Load() != 0 && n >= c.failAt.Load() {
					return errCut
				}
			} else if c.failHead.Load() {
				return errCut
			}
			return w.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if c.failHead.Load() {
				return errCut
			}
			return w.Update(ctx, o, opts...)
		},
	})
	c.restart()
	return c
}

// restart forgets all but the cluster, as another process would.
func (c *cluster) restart() {
	c.t.Helper()
	c.index = ownership.NewIndex()
	var err error
	c.store, err = inventory.New(inventory.Options{Client: c.client, Key: c.key, Namespace: c.sync.Namespace, Index: c.index})
	must(c.t, err)
}

func (c *cluster) save(entries []*ownership.Entry) error {
	return c.store.Save(c.t.Context(), &ownership.Sync{
		Namespace: c.sync.Namespace, Name: c.sync.Name, Mode: v1alpha1.ModeEnforce,
		Labels: map[string]string{"team": "shop"}, Applied: ownership.Revision{Name: "main@sha1:1a2b", Commit: "1a2b"},
	}, entries)
}

// load reads the inventory as another replica does.
func (c *cluster) load() *ownership.Index {
	c.t.Helper()
	index := ownership.NewIndex()
	loader, err := ownership.NewLoader(ownership.LoaderOptions{Reader: c.client, Key: c.key, Namespace: c.sync.Namespace, Index: index})
	must(c.t, err)
	var i v1alpha1.Inventory
	must(c.t, c.client.Get(c.t.Context(), c.sync, &i))
	must(c.t, loader.Load(c.t.Context(), &i))
	return index
}

func (c *cluster) chunks() []corev1.Secret {
	c.t.Helper()
	var list corev1.SecretList
	must(c.t, c.client.List(c.t.Context(), &list, client.InNamespace(c.sync.Namespace)))
	return list.Items
}

// named are the chunks that the inventory's head names.
func (c *cluster) named() []string {
	c.t.Helper()
	var i v1alpha1.Inventory
	must(c.t, c.client.Get(c.t.Context(), c.sync, &i))
	return i.Data.Chunks
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// entry has a baseline that does not compress, so that chunks fill up.
func entry(name string, size int) *ownership.Entry {
	noise := make([]byte, base64.RawURLEncoding.DecodedLen(size))
	// It never fails.
	_, _ = rand.NewChaCha8([32]byte(fmt.Appendf(nil, "%-32.32s", name))).Read(noise)
	return &ownership.Entry{
		ID:      ownership.ID{Kind: "ConfigMap", Namespace: "shop", Name: name},
		Version: "v1", Resource: "configmaps",
		Applied: &ownership.Content{
			File: name + ".yaml", Line: 1, Digest: name,
			Desired:  []byte(`{"data":{}}`),
			Baseline: []byte(`{"data":{"noise":"` + base64.RawURLEncoding.EncodeToString(noise) + `"}}`),
			Fields:   []byte(`{"f:data":{}}`),
		},
	}
}

func entries(n, size int) []*ownership.Entry {
	list := make([]*ownership.Entry, n)
	for i := range list {
		list[i] = entry(fmt.Sprintf("cm-%05d", i), size)
	}
	return list
}

func byID(list []*ownership.Entry) map[ownership.ID]*ownership.Entry {
	m := map[ownership.ID]*ownership.Entry{}
	for _, e := range list {
		m[e.ID] = e
	}
	return m
}

func TestWhatIsSavedIsLoadedByEveryReplica(t *testing.T) {
	c := newCluster(t)
	list := entries(3, 10)
	list[1].Attempted, list[1].Applied = list[1].Applied, nil
	list[2].Pruning = true
	must(t, c.save(list))
	index := c.load()
	if diff := cmp.Diff(byID(list), index.Entries(c.sync)); diff != "" {
		t.Errorf("entries (-saved +loaded):\n%s", diff)
	}
	mine, _ := c.index.Sync(c.sync)
	theirs, _ := index.Sync(c.sync)
	if diff := cmp.Diff(mine, theirs); diff != "" || theirs.Generation != 1 {
		t.Errorf("generation %d, want 1; (-saved +loaded):\n%s", theirs.Generation, diff)
	}
	for _, s := range c.chunks() {
		if s.Type != v1alpha1.SecretTypeInventory || s.Immutable == nil || !*s.Immutable {
			t.Errorf("chunk %s has type %q, want it immutable and of Mainstay's own type", s.Name, s.Type)
		}
	}
}

func TestGenerationsGrowAcrossARestart(t *testing.T) {
	c := newCluster(t)
	must(t, c.save(entries(1, 10)))
	must(t, c.save(entries(2, 10)))
	c.restart()
	must(t, c.save(entries(3, 10)))
	if s, _ := c.load().Sync(c.sync); s.Generation != 3 {
		t.Errorf("generation %d, want 3", s.Generation)
	}
	if n := len(c.chunks()); n != 1 {
		t.Errorf("there are %d chunks, want that of the last save alone", n)
	}
}

func TestASaveWritesOnlyTheChunksThatItTouches(t *testing.T) {
	c := newCluster(t)
	list := entries(400, 4000)
	must(t, c.save(list))
	before := c.named()
	if len(before) < 4 {
		t.Fatalf("%d chunks, too few to tell", len(before))
	}
	c.creates.Store(0)
	list = slices.Clone(list)
	list[7] = entry("cm-00007", 4100)
	must(t, c.save(list))
	if n := c.creates.Load(); n != 1 {
		t.Errorf("%d chunks were written, want 1", n)
	}
	kept := 0
	for _, name := range c.named() {
		if slices.Contains(before, name) {
			kept++
		}
	}
	if kept != len(before)-1 {
		t.Errorf("%d of %d chunks stayed, want all but one", kept, len(before))
	}
	if n := len(c.chunks()); n != len(before) {
		t.Errorf("there are %d chunks, want %d: the stale one goes", n, len(before))
	}
	c.creates.Store(0)
	must(t, c.save(list))
	if n := c.creates.Load(); n != 0 {
		t.Errorf("%d chunks were written although nothing changed", n)
	}
	if !reflect.DeepEqual(c.load().Entries(c.sync), byID(list)) {
		t.Error("what is loaded is not what was saved")
	}
}

func TestTenThousandObjectsAreSplitIntoSmallChunks(t *testing.T) {
	c := newCluster(t)
	list := entries(10_000, 300)
	must(t, c.save(list))
	chunks := c.chunks()
	if len(chunks) < 8 {
		t.Errorf("%d chunks, too few for so much", len(chunks))
	}
	for _, s := range chunks {
		if n := len(s.Data[ownership.ChunkEntries]); n > 256<<10 {
			t.Errorf("chunk %s has %d bytes, want at most %d", s.Name, n, 256<<10)
		}
	}
	got := c.load().Entries(c.sync)
	if len(got) != len(list) {
		t.Fatalf("%d entries were loaded, want %d", len(got), len(list))
	}
	for _, e := range list {
		if !reflect.DeepEqual(got[e.ID], e) {
			t.Fatalf("%s is not as it was saved", e.ID)
		}
	}
}

func TestASaveThatIsCutLeavesTheOldInventory(t *testing.T) {
	for name, cut := range map[string]func(c *cluster){
		"at the first chunk":                func(c *cluster) { c.failAt.Store(1) },
		"between two chunks":                func(c *cluster) { c.failAt.Store(3) },
		"after the chunks, before the head": func(c *cluster) { c.failHead.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			old, next := entries(5, 10), entries(400, 4000)
			must(t, c.save(old))
			c.creates.Store(0)
			cut(c)
			if err := c.save(next); !errors.Is(err, errCut) {
				t.Fatalf("got %v, want the cut", err)
			}
			if diff := cmp.Diff(byID(old), c.index.Entries(c.sync)); diff != "" {
				t.Errorf("the Index changed (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(byID(old), c.load().Entries(c.sync)); diff != "" {
				t.Errorf("in the cluster (-want +got):\n%s", diff)
			}
			c.failAt.Store(0)
			c.failHead.Store(false)
			must(t, c.save(next))
			if n := len(c.load().Entries(c.sync)); n != len(next) {
				t.Errorf("saved again, %d entries are loaded, want %d", n, len(next))
			}
		})
	}
}

func TestDeleteLeavesNothing(t *testing.T) {
	c := newCluster(t)
	other := types.NamespacedName{Namespace: c.sync.Namespace, Name: "till"}
	must(t, c.store.Save(t.Context(), &ownership.Sync{Namespace: other.Namespace, Name: other.Name}, []*ownership.Entry{entry("theirs", 10)}))
	must(t, c.save(entries(3, 10)))
	must(t, c.store.Delete(t.Context(), c.sync))
	if err := c.client.Get(t.Context(), c.sync, &v1alpha1.Inventory{}); !apierrors.IsNotFound(err) {
		t.Errorf("the inventory: %v, want it gone", err)
	}
	if _, ok := c.index.Sync(c.sync); ok {
		t.Error("the Index has it still")
	}
	if n := len(c.chunks()); n != 1 {
		t.Errorf("%d chunks are left, want that of the other GitSync", n)
	}
	t.Run("and may be asked for twice", func(t *testing.T) {
		must(t, c.store.Delete(t.Context(), c.sync))
	})
	t.Run("and the name may be used again", func(t *testing.T) {
		list := entries(2, 10)
		must(t, c.save(list))
		if diff := cmp.Diff(byID(list), c.load().Entries(c.sync)); diff != "" {
			t.Errorf("entries (-saved +loaded):\n%s", diff)
		}
	})
}

func TestTwoGitSyncsWithTheSameObjectsShareNoChunk(t *testing.T) {
	c := newCluster(t)
	must(t, c.save(entries(1, 10)))
	other := types.NamespacedName{Namespace: c.sync.Namespace, Name: "till"}
	must(t, c.store.Save(t.Context(), &ownership.Sync{Namespace: other.Namespace, Name: other.Name}, entries(1, 10)))
	must(t, c.store.Delete(t.Context(), other))
	if n := len(c.load().Entries(c.sync)); n != 1 {
		t.Errorf("%d entries are loaded, want 1: deleting one inventory took a chunk of the other", n)
	}
}

func TestAnObjectThatIsTooLargeIsNamed(t *testing.T) {
	c := newCluster(t)
	err := c.save([]*ownership.Entry{entry("small", 10), entry("huge", 3<<20)})
	if err == nil || !strings.Contains(err.Error(), "ConfigMap shop/huge is too large") {
		t.Errorf("got %v, want it to name the object", err)
	}
	if n := len(c.chunks()); n != 0 {
		t.Errorf("%d chunks were written", n)
	}
}

func TestNewNamesTheOptionThatIsMissing(t *testing.T) {
	c := newCluster(t)
	full := inventory.Options{Client: c.client, Key: c.key, Namespace: "x", Index: c.index}
	for option, without := range map[string]func(o *inventory.Options){
		"Client":    func(o *inventory.Options) { o.Client = nil },
		"Key":       func(o *inventory.Options) { o.Key = nil },
		"Namespace": func(o *inventory.Options) { o.Namespace = "" },
		"Index":     func(o *inventory.Options) { o.Index = nil },
	} {
		o := full
		without(&o)
		if _, err := inventory.New(o); err == nil || !strings.Contains(err.Error(), option+" is required") {
			t.Errorf("without %s: %v", option, err)
		}
	}
}

func TestSweepDeletesWhatNoInventoryNames(t *testing.T) {
	c := newCluster(t)
	must(t, c.save(entries(3, 10)))
	c.failHead.Store(true)
	if err := c.save(entries(4, 10)); !errors.Is(err, errCut) {
		t.Fatalf("got %v, want the save to be cut", err)
	}
	c.failHead.Store(false)
	if n := len(c.chunks()); n != 2 {
		t.Fatalf("%d chunks, want the named one and the one left behind", n)
	}
	must(t, c.store.Sweep(t.Context(), time.Hour))
	if n := len(c.chunks()); n != 2 {
		t.Errorf("%d chunks, want both: the younger may belong to a save that is being made", n)
	}
	must(t, c.store.Sweep(t.Context(), -time.Hour))
	if n := len(c.chunks()); n != 1 {
		t.Errorf("%d chunks, want the named one alone", n)
	}
	if n := c.load().Len(); n != 3 {
		t.Errorf("%d objects are loaded, want 3", n)
	}
}
