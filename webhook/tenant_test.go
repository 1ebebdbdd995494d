// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

const tenantAccount = "system:serviceaccount:shop:deployer"

// tenantHead is a GitSync of the name of shop in another namespace.
func tenantHead(namespace string, mode v1alpha1.Mode) *ownership.Sync {
	head := syncHead(mode)
	head.Namespace, head.ServiceAccount = namespace, tenantAccount
	return head
}

func TestATenantsAccountIsJudgedByContent(t *testing.T) {
	x := ownership.NewIndex()
	entry := &ownership.Entry{ID: web, Version: "v1", Resource: "deployments", Applied: webContent()}
	if err := x.Replace(tenantHead("shop", v1alpha1.ModeEnforce), []*ownership.Entry{entry}); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, x)
	for name, tt := range map[string]struct {
		user, operation, image string
		dryRun, allowed        bool
	}{
		"it writes what git says":                   {tenantAccount, "UPDATE", "nginx:1.27", false, true},
		"it writes anything else":                   {tenantAccount, "UPDATE", "nginx:evil", false, false},
		"it deletes what git declares":              {tenantAccount, "DELETE", "", false, false},
		"it plans by a dry run":                     {tenantAccount, "UPDATE", "nginx:1.28", true, true},
		"a dry run of another account of the space": {"system:serviceaccount:shop:default", "UPDATE", "nginx:1.28", true, false},
		"a dry run of a person":                     {"alice", "UPDATE", "nginx:1.28", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := deployment(tt.operation, live(t, image("nginx:1.0")), live(t, image(tt.image)))
			if tt.operation == "DELETE" {
				a.new = nil
			}
			a.user, a.dryRun = tt.user, tt.dryRun
			if got := f.send(t, a); got.Allowed != tt.allowed {
				t.Errorf("got %+v, want allowed = %t", got, tt.allowed)
			}
		})
	}
	t.Run("nobody is the account of a GitSync without one", func(t *testing.T) {
		a := deployment("UPDATE", live(t), live(t, image("nginx:1.28")))
		a.user, a.dryRun = "", true
		if newFixture(t, index(t, v1alpha1.ModeEnforce)).send(t, a).Allowed {
			t.Error("a dry run without a user passes")
		}
	})
}

// The GitSync that an object moves to plans with its own account, before it is
// said in its inventory what the object will be.
func TestTheAccountThatAnObjectIsHandedToPlans(t *testing.T) {
	for name, tt := range map[string]struct {
		user, handedAs  string
		dryRun, allowed bool
	}{
		"it plans by a dry run":          {tenantAccount, tenantAccount, true, true},
		"it writes":                      {tenantAccount, tenantAccount, false, false},
		"another one's dry run":          {"system:serviceaccount:shop:default", tenantAccount, true, false},
		"a dry run before it is handed":  {tenantAccount, "", true, false},
		"a dry run of nobody's, to none": {"", "", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := ownership.NewIndex()
			entry := &ownership.Entry{ID: web, Version: "v1", Resource: "deployments", Applied: webContent(), HandedTo: "shop/shop", HandedAs: tt.handedAs}
			if err := x.Replace(syncHead(v1alpha1.ModeEnforce), []*ownership.Entry{entry}); err != nil {
				t.Fatal(err)
			}
			a := deployment("UPDATE", live(t), live(t, image("nginx:1.28")))
			a.user, a.dryRun = tt.user, tt.dryRun
			if got := newFixture(t, x).send(t, a); got.Allowed != tt.allowed {
				t.Errorf("got %+v, want allowed = %t", got, tt.allowed)
			}
		})
	}
}

func TestALabelBindsAGitSyncThatMayDeclareTheObject(t *testing.T) {
	enforce, audit := v1alpha1.ModeEnforce, v1alpha1.ModeAudit
	tenant, central := ownership.LabelValue(tenantHead("shop", enforce).Key(), web), ownership.LabelValue(shop, web)
	for name, tt := range map[string]struct {
		label    string
		syncs    []*ownership.Sync
		catching bool
	}{
		"one of the object's namespace":            {tenant, []*ownership.Sync{tenantHead("shop", enforce)}, true},
		"one of Mainstay's own namespace":          {central, []*ownership.Sync{syncHead(enforce)}, true},
		"not one of the same name elsewhere":       {tenant, []*ownership.Sync{syncHead(enforce), tenantHead("till", enforce)}, false},
		"not one that may not declare the object":  {ownership.LabelValue(tenantHead("till", enforce).Key(), web), []*ownership.Sync{tenantHead("till", enforce)}, false},
		"the one of two of the same name":          {tenant, []*ownership.Sync{syncHead(audit), tenantHead("shop", enforce)}, true},
		"the one of two that refuses nothing":      {tenant, []*ownership.Sync{syncHead(enforce), tenantHead("shop", audit)}, false},
		"none, where the label is that of another": {central, []*ownership.Sync{tenantHead("shop", enforce)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			x := ownership.NewIndex()
			for _, s := range tt.syncs {
				if err := x.Replace(s, nil); err != nil {
					t.Fatal(err)
				}
			}
			label := set(tt.label, "metadata", "labels", v1alpha1.SyncLabel)
			got := newFixture(t, x).send(t, deployment("UPDATE", live(t, label), live(t, label, image("nginx:1.28"))))
			if tt.catching && (got.Allowed || !strings.Contains(got.Result.Message, "catching up")) {
				t.Errorf("got %+v, want it to wait", got)
			}
			if !tt.catching && !got.Allowed {
				t.Errorf("got %+v, want nobody to be bound", got.Result)
			}
		})
	}
}
