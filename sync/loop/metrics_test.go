// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func TestExposureIsTheTimeThatObjectsDiffer(t *testing.T) {
	start := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	shop, crds := types.NamespacedName{Namespace: "a", Name: "shop"}, types.NamespacedName{Namespace: "a", Name: "crds"}
	web, api := ownership.ID{Kind: "ConfigMap", Name: "web"}, ownership.ID{Kind: "ConfigMap", Name: "api"}
	for what, c := range map[string]struct {
		do   func(e *exposure, at func(seconds int) time.Time)
		want map[types.NamespacedName]float64
	}{
		"a GitSync of which nothing differs begins with zero": {
			func(e *exposure, _ func(int) time.Time) { e.know(shop) }, map[types.NamespacedName]float64{shop: 0},
		},
		"from the event to the revert": {func(e *exposure, at func(int) time.Time) {
			e.begin(web, shop, start)
			at(3)
			e.end(web)
			at(60)
		}, map[types.NamespacedName]float64{shop: 3}},
		"what is seen again and again counts once": {func(e *exposure, at func(int) time.Time) {
			e.begin(web, shop, start)
			e.begin(web, shop, at(2))
			e.begin(web, shop, at(4))
			at(5)
			e.end(web)
			e.end(web)
		}, map[types.NamespacedName]float64{shop: 5}},
		"what still differs counts up to now": {func(e *exposure, at func(int) time.Time) {
			e.begin(web, shop, start)
			at(7)
		}, map[types.NamespacedName]float64{shop: 7}},
		"two objects at the same time count twice": {func(e *exposure, at func(int) time.Time) {
			e.begin(web, shop, start)
			e.begin(api, shop, start)
			at(4)
		}, map[types.NamespacedName]float64{shop: 8}},
		"an object that changes its owner counts for each while it was theirs": {func(e *exposure, at func(int) time.Time) {
			e.begin(web, shop, start)
			e.begin(web, crds, at(2))
			at(5)
			e.end(web)
		}, map[types.NamespacedName]float64{shop: 2, crds: 3}},
		"a clock that is set back takes nothing away": {func(e *exposure, at func(int) time.Time) {
			e.begin(web, shop, start)
			at(-60)
			e.end(web)
		}, map[types.NamespacedName]float64{shop: 0}},
		"a GitSync that goes takes its time along": {func(e *exposure, at func(int) time.Time) {
			e.begin(web, shop, start)
			at(5)
			e.forget(shop)
			e.end(web)
		}, map[types.NamespacedName]float64{}},
	} {
		t.Run(what, func(t *testing.T) {
			now := start
			e := newExposure(func() time.Time { return now })
			c.do(e, func(seconds int) time.Time {
				now = start.Add(time.Duration(seconds) * time.Second)
				return now
			})
			registry := prometheus.NewPedanticRegistry()
			registry.MustRegister(e)
			for range 2 { // looking changes nothing
				got := map[types.NamespacedName]float64{}
				families, err := registry.Gather()
				if err != nil {
					t.Fatal(err)
				}
				for _, family := range families {
					for _, m := range family.GetMetric() {
						got[types.NamespacedName{Namespace: m.GetLabel()[1].GetValue(), Name: m.GetLabel()[0].GetValue()}] = m.GetCounter().GetValue()
					}
				}
				if len(got) != len(c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
				for sync, want := range c.want {
					if got[sync] != want {
						t.Errorf("%s: %v seconds, want %v", sync, got[sync], want)
					}
				}
			}
		})
	}
}

func TestAGitSyncIsExportedOnceAndGoesWithAllItsSeries(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := newMetrics(registry, map[string]string{"team": "label_team", "shop.example/tier": "label_shop_example_tier"})
	gs := &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "shop", Labels: map[string]string{"team": "shop", "secret": "not-exported"}},
		Spec:       v1alpha1.GitSyncSpec{Contact: "#shop"},
	}
	m.show(gs)
	gs.Labels["team"], gs.Spec.Contact = "pay", "#pay"
	m.show(gs)
	for name, want := range map[string]string{
		"mainstay_gitsync_labels":           `mainstay_gitsync_labels{contact="#pay",label_shop_example_tier="",label_team="pay",name="shop",namespace="a"} 1`,
		"mainstay_drift_detected_total":     `mainstay_drift_detected_total{name="shop",namespace="a"} 0`,
		"mainstay_drift_reverted_total":     `mainstay_drift_reverted_total{name="shop",namespace="a"} 0`,
		"mainstay_drift_unattributed_total": `mainstay_drift_unattributed_total{name="shop",namespace="a"} 0`,
	} {
		if err := testutil.GatherAndCompare(registry, strings.NewReader(helpOf(t, registry, name)+want+"\n"), name); err != nil {
			t.Error(err)
		}
	}
	m.objects.WithLabelValues("a", "shop").Set(1)
	m.fights.WithLabelValues("a", "shop").Set(1)
	m.hide("a", "shop")
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, one := range family.GetMetric() {
			for _, label := range one.GetLabel() {
				if label.GetName() == "name" {
					t.Errorf("%s is left behind", family.GetName())
				}
			}
		}
	}
}

// helpOf is how a metric is announced, which is not what is tried.
func helpOf(t *testing.T, registry *prometheus.Registry, name string) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return "# HELP " + name + " " + family.GetHelp() + "\n# TYPE " + name + " " + strings.ToLower(family.GetType().String()) + "\n"
		}
	}
	t.Errorf("there is no %s", name)
	return ""
}
