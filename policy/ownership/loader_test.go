// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// library is a cluster with inventories, and a Loader that reads them.
type library struct {
	t      *testing.T
	client client.Client
	key    *seal.Key
	index  *ownership.Index
	loader *ownership.Loader
}

func newLibrary(t *testing.T) *library {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	l := &library{t: t, client: fake.NewClientBuilder().WithScheme(scheme).Build(), key: newKey(t), index: ownership.NewIndex()}
	var err error
	l.loader, err = ownership.NewLoader(ownership.LoaderOptions{Reader: l.client, Key: l.key, Namespace: shop.Namespace, Index: l.index})
	must(t, err)
	return l
}

func newKey(t *testing.T) *seal.Key {
	t.Helper()
	secret, err := seal.Generate()
	must(t, err)
	key, err := seal.NewKey(secret)
	must(t, err)
	return key
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// chunk writes a chunk of an inventory, sealed with a key.
func (l *library) chunk(name string, owner types.NamespacedName, key *seal.Key, entries ...*ownership.Entry) {
	l.t.Helper()
	data, err := ownership.EncodeChunk(entries)
	must(l.t, err)
	must(l.t, l.client.Create(l.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: name},
		Data: map[string][]byte{
			ownership.ChunkEntries: data,
			ownership.ChunkSeal:    []byte(ownership.SealChunk(key, owner, data)),
		},
	}))
}

// inventory makes the head of an inventory, sealed with a key.
func inventory(t *testing.T, key *seal.Key, generation int64, chunks ...string) *v1alpha1.Inventory {
	t.Helper()
	head, err := json.Marshal(gitSync(shop, generation))
	must(t, err)
	i := &v1alpha1.Inventory{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: shop.Name},
		Data:       v1alpha1.InventoryData{Generation: generation, Head: string(head), Chunks: chunks},
	}
	i.Data.Seal = ownership.SealInventory(key, shop, &i.Data)
	return i
}

// write puts an inventory into the cluster, in place of another one.
func (l *library) write(i *v1alpha1.Inventory) {
	l.t.Helper()
	old := &v1alpha1.Inventory{}
	if err := l.client.Get(l.t.Context(), client.ObjectKeyFromObject(i), old); err != nil {
		must(l.t, client.IgnoreNotFound(err))
		must(l.t, l.client.Create(l.t.Context(), i))
		return
	}
	old.Data = i.Data
	must(l.t, l.client.Update(l.t.Context(), old))
}

func (l *library) reconcile() error {
	_, err := l.loader.Reconcile(l.t.Context(), reconcile.Request{NamespacedName: shop})
	return err
}

func (l *library) names() string {
	var names []string
	for id := range l.index.Entries(shop) {
		names = append(names, id.Name)
	}
	return strings.Join(names, " ")
}

func TestWhatMainstayDidNotWriteChangesNothing(t *testing.T) {
	for name, attack := range map[string]func(t *testing.T, l *library){
		"an inventory sealed with another key": func(t *testing.T, l *library) {
			l.write(inventory(t, newKey(t), 9))
		},
		"an inventory whose chunks were taken out": func(t *testing.T, l *library) {
			i := inventory(t, l.key, 9, "one")
			i.Data.Chunks = nil
			l.write(i)
		},
		"an inventory whose head was edited": func(t *testing.T, l *library) {
			i := inventory(t, l.key, 9, "one")
			i.Data.Head = strings.Replace(i.Data.Head, `"mode":""`, `"mode":"Audit"`, 1)
			l.write(i)
		},
		"an old inventory with a new generation": func(t *testing.T, l *library) {
			i := inventory(t, l.key, 4)
			i.Data.Generation = 9
			l.write(i)
		},
		"an inventory sealed for another GitSync": func(t *testing.T, l *library) {
			i := inventory(t, l.key, 9)
			i.Data.Seal = ownership.SealInventory(l.key, till, &i.Data)
			l.write(i)
		},
		"an inventory without a seal": func(t *testing.T, l *library) {
			i := inventory(t, l.key, 9)
			i.Data.Seal = ""
			l.write(i)
		},
		"a rolled-back inventory, as Mainstay wrote it once": func(t *testing.T, l *library) {
			l.write(inventory(t, l.key, 4))
		},
		"a chunk sealed with another key": func(t *testing.T, l *library) {
			l.chunk("forged", shop, newKey(t), deployment("forged"))
			l.write(inventory(t, l.key, 9, "forged"))
		},
		"a chunk of another inventory": func(t *testing.T, l *library) {
			l.chunk("theirs", till, l.key, deployment("theirs"))
			l.write(inventory(t, l.key, 9, "theirs"))
		},
		"a good chunk beside a forged one": func(t *testing.T, l *library) {
			l.chunk("good", shop, l.key, deployment("good"))
			l.chunk("forged", shop, newKey(t), deployment("forged"))
			l.write(inventory(t, l.key, 9, "good", "forged"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLibrary(t)
			l.chunk("one", shop, l.key, deployment("web"))
			l.write(inventory(t, l.key, 5, "one"))
			must(t, l.reconcile())
			changed := l.index.Changed()

			attack(t, l)
			if err := l.reconcile(); err != nil {
				t.Errorf("%v, want it to be logged: trying again does not help", err)
			}
			if got := l.names(); got != "web" {
				t.Errorf("declared: %q, want web", got)
			}
			if s, _ := l.index.Sync(shop); s == nil || s.Generation != 5 {
				t.Errorf("the GitSync is %+v, want generation 5", s)
			}
			select {
			case <-changed:
				t.Error("a change was announced")
			default:
			}
		})
	}
}

func TestANewerInventoryIsLoaded(t *testing.T) {
	l := newLibrary(t)
	l.chunk("one", shop, l.key, deployment("web"))
	l.chunk("two", shop, l.key, deployment("api"))
	l.write(inventory(t, l.key, 1, "one"))
	must(t, l.loader.LoadAll(t.Context()))
	if got := l.names(); got != "web" {
		t.Fatalf("declared: %q, want web", got)
	}
	l.write(inventory(t, l.key, 2, "two"))
	must(t, l.reconcile())
	if got := l.names(); got != "api" {
		t.Errorf("declared: %q, want api", got)
	}
	t.Run("and one that is gone is forgotten", func(t *testing.T) {
		must(t, l.client.Delete(t.Context(), inventory(t, l.key, 2)))
		must(t, l.reconcile())
		if got := l.names(); got != "" {
			t.Errorf("declared: %q, want nothing", got)
		}
	})
}

func TestAReplicaDoesNotStartBlind(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(t *testing.T, l *library)
		word    string
	}{
		"a chunk is missing": {func(t *testing.T, l *library) {
			l.chunk("one", shop, l.key, deployment("web"))
			l.write(inventory(t, l.key, 1, "one", "absent"))
		}, "absent"},
		"an inventory is forged": {func(t *testing.T, l *library) {
			l.write(inventory(t, newKey(t), 1))
		}, "seal"},
		"a chunk is damaged, but sealed": {func(t *testing.T, l *library) {
			data := []byte("no chunk")
			must(t, l.client.Create(t.Context(), &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: "damaged"},
				Data: map[string][]byte{
					ownership.ChunkEntries: data,
					ownership.ChunkSeal:    []byte(ownership.SealChunk(l.key, shop, data)),
				},
			}))
			l.write(inventory(t, l.key, 1, "damaged"))
		}, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLibrary(t)
			tt.prepare(t, l)
			inventories := new(v1alpha1.InventoryList)
			must(t, l.client.List(t.Context(), inventories))
			if err := l.loader.Load(t.Context(), &inventories.Items[0]); !errors.Is(err, ownership.ErrUnreadable) ||
				!strings.Contains(err.Error(), tt.word) || !strings.Contains(err.Error(), shop.String()) {
				t.Errorf("got %v, want ErrUnreadable that names the inventory and says %q", err, tt.word)
			}
			// It starts all the same, and knows that there is a GitSync: what
			// carries its label is locked until the leader has written the
			// inventory anew.
			must(t, l.loader.LoadAll(t.Context()))
			if _, known := l.index.Sync(shop); !known {
				t.Error("the GitSync is not known: its objects would be free")
			}
			if n := l.index.Len(); n != 0 {
				t.Errorf("%d objects are declared, want none of half an inventory", n)
			}
		})
	}
	t.Run("nor to a GitSync elsewhere", func(t *testing.T) {
		l := newLibrary(t)
		tenant := types.NamespacedName{Namespace: "team-a", Name: "shop"}
		forged := inventory(t, newKey(t), 1)
		forged.Namespace = tenant.Namespace
		must(t, l.client.Create(t.Context(), forged))
		must(t, l.loader.LoadAll(t.Context()))
		if s, known := l.index.Sync(tenant); !known || s.Mode != v1alpha1.ModeEnforce {
			t.Error("the GitSync is not known: its objects would be free")
		}
	})
	t.Run("and a missing chunk is tried again", func(t *testing.T) {
		l := newLibrary(t)
		l.write(inventory(t, l.key, 1, "late"))
		if err := l.reconcile(); err == nil {
			t.Fatal("got no error: nothing would try again")
		}
		l.chunk("late", shop, l.key, deployment("web"))
		must(t, l.reconcile())
		if got := l.names(); got != "web" {
			t.Errorf("declared: %q, want web", got)
		}
	})
}

func TestALoaderNamesTheOptionThatIsMissing(t *testing.T) {
	l := newLibrary(t)
	full := ownership.LoaderOptions{Reader: l.client, Key: l.key, Namespace: "x", Index: l.index}
	for option, without := range map[string]func(o *ownership.LoaderOptions){
		"Reader":    func(o *ownership.LoaderOptions) { o.Reader = nil },
		"Key":       func(o *ownership.LoaderOptions) { o.Key = nil },
		"Namespace": func(o *ownership.LoaderOptions) { o.Namespace = "" },
		"Index":     func(o *ownership.LoaderOptions) { o.Index = nil },
	} {
		o := full
		without(&o)
		if _, err := ownership.NewLoader(o); err == nil || !strings.Contains(err.Error(), option+" is required") {
			t.Errorf("without %s: %v", option, err)
		}
	}
}
