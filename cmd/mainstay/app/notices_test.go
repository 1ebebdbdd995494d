// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/notify"
	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

func TestAnEventIsANotice(t *testing.T) {
	shop := types.NamespacedName{Namespace: "mainstay-system", Name: "shop"}
	meta := metav1.ObjectMeta{Namespace: "mainstay-system", Name: "shop"}
	owned := meta
	owned.OwnerReferences = []metav1.OwnerReference{{Kind: "GitSync", Name: "shop"}}
	tests := map[string]struct {
		regarding, related runtime.Object
		kind, reason       string
		want               notify.Notice
		none               bool
	}{
		"of a GitSync": {
			regarding: &v1alpha1.GitSync{ObjectMeta: meta}, kind: "Warning", reason: "SyncFailed",
			want: notify.Notice{GitSync: shop, Severity: config.SeverityWarning, Kind: "SyncFailed", Text: "note"},
		},
		"that is good news": {
			regarding: &v1alpha1.GitSync{ObjectMeta: meta}, kind: "Normal", reason: "Applied",
			want: notify.Notice{GitSync: shop, Severity: config.SeverityInfo, Kind: "Applied", Text: "note"},
		},
		"of an object, with the GitSync that declares it": {
			regarding: &corev1.ObjectReference{Kind: "Deployment", Namespace: "shop", Name: "web"},
			related:   &corev1.ObjectReference{Kind: "GitSync", Namespace: "mainstay-system", Name: "shop"}, kind: "Warning", reason: "Fight",
			want: notify.Notice{GitSync: shop, Severity: config.SeverityWarning, Kind: "Fight", Text: "Deployment shop/web: note"},
		},
		"of a BreakGlass, with who asked for it": {
			regarding: &v1alpha1.BreakGlass{ObjectMeta: meta, Spec: v1alpha1.BreakGlassSpec{RequestedBy: "alice"}}, kind: "Normal", reason: "GrantEnding",
			want: notify.Notice{Severity: config.SeverityWarning, Kind: "GrantEnding", Actor: "alice", Text: "breakglass mainstay-system/shop: note"},
		},
		"of policies that a GitSync owns": {
			regarding: &v1alpha1.ChangePolicy{ObjectMeta: owned}, kind: "Warning", reason: "LoadFailed",
			want: notify.Notice{GitSync: shop, Severity: config.SeverityWarning, Kind: "LoadFailed", Text: "changepolicy mainstay-system/shop: note"},
		},
		"of a grant's use, which is told with the change": {
			regarding: &v1alpha1.BreakGlass{ObjectMeta: meta}, kind: "Normal", reason: "GrantUsed", none: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := noticeOf(tt.regarding, tt.related, tt.kind, tt.reason, "note")
			if ok == tt.none {
				t.Fatalf("told: %t", ok)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("notice (-want +got):\n%s", diff)
			}
		})
	}
}
