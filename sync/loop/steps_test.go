// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestPolicyModules(t *testing.T) {
	t.Parallel()
	tree := fstest.MapFS{
		"policies/shop/shop.rego":                &fstest.MapFile{},
		"policies/shop/input.json":               &fstest.MapFile{},
		"policies/.regal/rules/own/own.rego":     &fstest.MapFile{},
		"policies/shop/.drafts/sub/a.rego":       &fstest.MapFile{},
		".policies/night.rego":                   &fstest.MapFile{},
		".policies/.regal/rules/own/own.rego":    &fstest.MapFile{},
		"deploy/.mainstay/day.rego":              &fstest.MapFile{},
		"deploy/.mainstay/.git/hooks/hooks.rego": &fstest.MapFile{},
	}
	for name, c := range map[string]struct {
		folders, want []string
	}{
		"hidden folders below are left out":         {[]string{"policies"}, []string{"policies/shop/shop.rego"}},
		"a hidden folder that is named is read":     {[]string{".policies/"}, []string{".policies/night.rego"}},
		"so is one that is named further down":      {[]string{"deploy/.mainstay"}, []string{"deploy/.mainstay/day.rego"}},
		"of the whole repository the visible ones":  {[]string{"."}, []string{"policies/shop/shop.rego"}},
		"several folders, one of them within other": {[]string{"policies", "./policies/shop"}, []string{"policies/shop/shop.rego"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			modules, err := policyModules(tree, c.folders)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(modules))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := policyModules(tree, []string{"missing"}); err == nil {
		t.Error("a folder that is missing is no error")
	}
}
