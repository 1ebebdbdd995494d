// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package off

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

var made = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func configMap(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.OffConfigMap, Namespace: "mainstay-system", CreationTimestamp: metav1.NewTime(made)},
		Data:       data,
	}
}

func TestSwitchEndsByItself(t *testing.T) {
	tests := map[string]struct {
		data   map[string]string
		reason string
		lasts  time.Duration
	}{
		"a duration that is given":         {map[string]string{"reason": "INC-4711", "for": "30m"}, "INC-4711", 30 * time.Minute},
		"no duration is the default":       {map[string]string{"reason": "INC-4711"}, "INC-4711", Default},
		"a typing error is the default":    {map[string]string{"reason": "INC-4711", "for": "1hour"}, "INC-4711", Default},
		"a negative one is the default":    {map[string]string{"reason": "INC-4711", "for": "-1h"}, "INC-4711", Default},
		"more than the maximum is cut":     {map[string]string{"reason": "INC-4711", "for": "1000h"}, "INC-4711", Max},
		"an empty ConfigMap does turn off": {nil, "no reason given", Default},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			now := made
			registry := prometheus.NewRegistry()
			s, err := New(Options{Client: fake.NewClientset(), Namespace: "mainstay-system", Clock: func() time.Time { return now }, Registerer: registry})
			if err != nil {
				t.Fatal(err)
			}
			changed := s.Changed()
			s.see(configMap(test.data))
			select {
			case <-changed:
			default:
				t.Error("nobody was told")
			}
			now = made.Add(test.lasts - time.Second)
			active, reason, until := s.State(now)
			if !active || reason != test.reason || !until.Equal(made.Add(test.lasts)) {
				t.Errorf("before its end: %v, %q, %s", active, reason, until)
			}
			if n, err := testutil.GatherAndCount(registry, "mainstay_off"); n != 1 || err != nil {
				t.Errorf("%d series of mainstay_off, %v", n, err)
			}
			if active, _, _ := s.State(made.Add(test.lasts)); active {
				t.Error("it does not end")
			}
		})
	}
}

func TestSwitchFollowsTheConfigMap(t *testing.T) {
	client := fake.NewClientset()
	s, err := New(Options{Client: client, Namespace: "mainstay-system"})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Start(t.Context()) }()
	for !s.Synced() {
		time.Sleep(time.Millisecond)
	}
	changed := s.Changed()
	cm := configMap(map[string]string{"reason": "x"})
	if _, err := client.CoreV1().ConfigMaps(cm.Namespace).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	<-changed
	if active, _, _ := s.State(made); !active {
		t.Error("not off")
	}
	changed = s.Changed()
	if err := client.CoreV1().ConfigMaps(cm.Namespace).Delete(t.Context(), cm.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	<-changed
	if active, _, _ := s.State(made); active {
		t.Error("still off")
	}
}

func TestZeroSwitchIsNeverOff(t *testing.T) {
	var s Switch
	if active, _, _ := s.State(made); active {
		t.Error("off")
	}
}

func TestWhatIsOverIsRemoved(t *testing.T) {
	cm := configMap(map[string]string{"reason": "INC-4711", "for": "30m"})
	client := fake.NewClientset(cm)
	s, err := New(Options{Client: client, Namespace: cm.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, ok := s.Asked(); ok {
		t.Error("something is asked for where there is no ConfigMap")
	}
	s.see(cm)
	if reason, from, until, ok := s.Asked(); !ok || reason != "INC-4711" || !from.Equal(made) || !until.Equal(made.Add(30*time.Minute)) {
		t.Errorf("Asked = %q, %s, %s, %t", reason, from, until, ok)
	}
	there := func(want bool) {
		t.Helper()
		_, err := client.CoreV1().ConfigMaps(cm.Namespace).Get(t.Context(), cm.Name, metav1.GetOptions{})
		if (err == nil) != want {
			t.Errorf("the ConfigMap: %v, want it there: %t", err, want)
		}
	}
	if err := s.Remove(t.Context(), made.Add(29*time.Minute)); err != nil {
		t.Fatal(err)
	}
	there(true)
	for range 2 { // it may be gone already
		if err := s.Remove(t.Context(), made.Add(30*time.Minute)); err != nil {
			t.Fatal(err)
		}
		there(false)
	}
}
