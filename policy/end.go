// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// endWarning tells whoever sends a request that what is permitted ends, when,
// and whether pods are restarted then; empty where nothing ends.
func endWarning(c *Change, permits []Permitted) string {
	if c.Origin != OriginRequest || c.Mode() != v1alpha1.ModeEnforce {
		return ""
	}
	var end *time.Time
	restarts := false
	for _, p := range permits {
		if p.Until == nil || strings.HasPrefix(p.Rule, grantPrefix) {
			continue // a grant says its end itself
		}
		if end == nil || p.Until.Before(*end) {
			end = p.Until
		}
		restarts = restarts || restartsPods(c, p.Field)
	}
	if end == nil {
		return ""
	}
	text := "at " + end.UTC().Format("15:04") + " UTC"
	if end.UTC().Format(time.DateOnly) != c.Time.UTC().Format(time.DateOnly) {
		text = "on " + end.UTC().Format(time.DateOnly) + " " + text
	}
	text += " this is reverted"
	if restarts {
		id := c.ID()
		text += fmt.Sprintf(", which restarts the pods of %s/%s", strings.ToLower(id.Kind), id.Name)
	}
	return text
}

// restartsPods tells whether a change of a field makes new pods in place of
// those that run.
func restartsPods(c *Change, f Field) bool {
	if len(f.Path) < 2 || f.Path[0].Field != "spec" || f.Path[1].Field != "template" {
		return false
	}
	switch id := c.ID(); id.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return id.Group == "apps"
	case "Rollout":
		return id.Group == "argoproj.io"
	}
	return false
}
