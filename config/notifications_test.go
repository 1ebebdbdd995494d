// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"

	"github.com/mainstay-gitops/mainstay/config"
)

const route = "notifications: {routes: [{name: shop, type: Slack, secretRef: {name: s}, "

func TestARouteIsRefusedWithItsField(t *testing.T) {
	tests := map[string]struct{ file, want string }{
		"an unknown key":          {route + "severity: [info]}]}", "notifications.routes[0].severity: unknown key; did you mean severities?"},
		"an unknown severity":     {route + "severities: [page]}]}", `notifications.routes[0].severities[0]: must be one of [critical warning info], is "page"`},
		"a GitSync without slash": {route + "gitSyncs: [shop]}]}", `notifications.routes[0].gitSyncs[0]: must be namespace/name`},
		"a pattern that is none":  {route + `gitSyncs: ["a/["]}]}`, `notifications.routes[0].gitSyncs[0]: must be namespace/name`},
		"a kind in lower case":    {route + "kinds: [DriftReverted, drift]}]}", `notifications.routes[0].kinds[1]: must be the reason of an Event`},
		"an unknown receiver":     {"notifications: {routes: [{name: a, type: Pigeon, secretRef: {name: s}}]}", `notifications.routes[0].type: must be one of [Slack`},
		"no secret":               {"notifications: {routes: [{name: a, type: Slack}]}", "notifications.routes[0].secretRef.name: must name the Secret with the address"},
		"a name twice":            {"notifications: {routes: [{name: a, type: Slack, secretRef: {name: s}}, {name: a, type: Email, secretRef: {name: s}}]}", "notifications.routes[1].name: is the name of notifications.routes[0]"},
		"no name":                 {"notifications: {routes: [{type: Slack, secretRef: {name: s}}]}", "notifications.routes[0].name: must be"},
		"no room at all":          {"notifications: {queue: 0}", "notifications.queue: must be between 1 and 100000"},
		"a window of a day":       {"notifications: {window: 24h}", "notifications.window: must be between 0s and 1h"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse([]byte(header + tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one that holds %q", err, tt.want)
			}
		})
	}
}

func TestARouteTakesWhatItNames(t *testing.T) {
	tests := map[string]struct {
		route    config.Route
		sync     string
		severity config.Severity
		kind     string
		want     bool
	}{
		"what is severe, by default":       {sync: "a/shop", severity: config.SeverityWarning, kind: "Fight", want: true},
		"what is not, only if asked for":   {sync: "a/shop", severity: config.SeverityInfo, kind: "ChangeRefused"},
		"asked for":                        {config.Route{Severities: []config.Severity{config.SeverityInfo}}, "a/shop", config.SeverityInfo, "ChangeRefused", true},
		"what concerns no GitSync":         {severity: config.SeverityCritical, kind: "MainstayOff", want: true},
		"which a named GitSync excludes":   {config.Route{GitSyncs: []string{"*/*"}}, "", config.SeverityCritical, "MainstayOff", false},
		"any GitSync of a namespace":       {config.Route{GitSyncs: []string{"a/*"}}, "a/shop", config.SeverityWarning, "Fight", true},
		"but not of another one":           {config.Route{GitSyncs: []string{"a/*"}}, "b/shop", config.SeverityWarning, "Fight", false},
		"a kind by its beginning":          {config.Route{Kinds: []string{"Grant*"}}, "a/shop", config.SeverityWarning, "GrantEnding", true},
		"another kind":                     {config.Route{Kinds: []string{"Grant*"}}, "a/shop", config.SeverityWarning, "Fight", false},
		"a severity that is not asked for": {config.Route{Severities: []config.Severity{config.SeverityCritical}}, "a/shop", config.SeverityWarning, "Fight", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.route.Takes(tt.sync, tt.severity, tt.kind); got != tt.want {
				t.Errorf("takes it: %t, want %t", got, tt.want)
			}
		})
	}
}
