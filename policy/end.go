// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
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
		if p.Until == nil || p.Held != nil {
			continue // nothing goes back then
		}
		if end == nil || p.Until.Before(*end) {
			end = p.Until
		}
		restarts = restarts || RestartsPods(c.ID(), p.Field.Path)
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

// RestartsPods tells whether a change of an object's field makes new pods in
// place of those that run.
func RestartsPods(id ownership.ID, path fieldset.Path) bool {
	if len(path) < 2 || path[0].Field != "spec" || path[1].Field != "template" {
		return false
	}
	switch id.Kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return id.Group == "apps"
	case "Rollout":
		return id.Group == "argoproj.io"
	}
	return false
}
