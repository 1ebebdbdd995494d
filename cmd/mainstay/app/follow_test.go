// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mainstay-gitops/mainstay/config"
)

func TestTheConfigurationIsFollowedWhileTheProcessRuns(t *testing.T) {
	const (
		header = "apiVersion: config.mainstay.dev/v1alpha1\nkind: MainstayConfig\n"
		routes = header + "notifications: {routes: [{name: a, type: Slack, secretRef: {name: a}}]}\n"
	)
	for what, c := range map[string]struct {
		file   string
		routes int // that count afterwards; -1: nothing was taken over
		good   float64
		said   string
	}{
		"a route more":             {routes, 1, 1, "notifications follow"},
		"nothing that counts":      {header + "# a comment\n", -1, 1, ""},
		"a mistake":                {header + "notifications: {routes: [{name: A, type: Slack, secretRef: {name: a}}]}\n", -1, 0, "the last good one counts"},
		"an unknown key":           {header + "notification: {}\n", -1, 0, "did you mean notifications"},
		"what needs a restart":     {header + "suspension: {max: 1h}\n", -1, 1, `"keys"="suspension"`},
		"a route and more":         {routes + "clusterName: other\n", 1, 1, `"keys"="clusterName"`},
		"a file that was emptied":  {"", -1, 0, "the last good one counts"},
		"all that there ever were": {header, -1, 1, ""},
	} {
		t.Run(what, func(t *testing.T) {
			var said strings.Builder
			log := funcr.New(func(_, args string) { said.WriteString(args + "\n") }, funcr.Options{})
			took := -1
			f, err := newFollower("config.yaml", config.Default(), func(n config.Notifications) { took = len(n.Routes) }, prometheus.NewRegistry(), log)
			if err != nil {
				t.Fatal(err)
			}
			f.read([]byte(c.file))
			if took != c.routes || testutil.ToFloat64(f.good) != c.good {
				t.Errorf("%d routes, good %v, want %d, %v", took, testutil.ToFloat64(f.good), c.routes, c.good)
			}
			if got := said.String(); !strings.Contains(got, c.said) || c.said == "" && got != "" {
				t.Errorf("said %q, want %q", got, c.said)
			}
		})
	}
}
