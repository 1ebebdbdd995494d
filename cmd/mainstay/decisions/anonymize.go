// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package decisions

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mainstay-gitops/mainstay/policy/record"
)

// names replaces those of people and groups, the same by the same.
type names struct{ users, groups map[string]string }

func newNames() *names { return &names{map[string]string{}, map[string]string{}} }

func replaced(known map[string]string, kind, name string) string {
	if name == "" || strings.HasPrefix(name, "system:") {
		return name
	}
	if known[name] == "" {
		known[name] = fmt.Sprintf("%s-%d", kind, len(known)+1)
	}
	return known[name]
}

func (n *names) user(name string) string { return replaced(n.users, "user", name) }

func (n *names) each(groups []string) []string {
	out := make([]string, len(groups))
	for i, g := range groups {
		out[i] = replaced(n.groups, "group", g)
	}
	return out
}

// replace replaces the names in a record, that of the author of git's commit
// among them. What people wrote as a reason is left out.
func (n *names) replace(r *record.Record) error {
	if r.User != nil {
		r.User.Username, r.User.Groups = n.user(r.User.Username), n.each(r.User.Groups)
	}
	if r.Basis == nil {
		return nil
	}
	if g := r.Basis.Grant; g != nil {
		g.Requester, g.Approver, g.Reason, g.Ticket = n.user(g.Requester), n.user(g.Approver), "", ""
		for i := range g.Subjects {
			switch g.Subjects[i].Kind {
			case "User":
				g.Subjects[i].Name = n.user(g.Subjects[i].Name)
			case "Group":
				g.Subjects[i].Name = n.each([]string{g.Subjects[i].Name})[0]
			}
		}
		r.Reason = ""
	}
	if len(r.Basis.Input) == 0 {
		return nil
	}
	var input map[string]json.RawMessage
	if err := json.Unmarshal(r.Basis.Input, &input); err != nil {
		return fmt.Errorf("decision %s: %w", r.Decision, err)
	}
	if raw := input["userInfo"]; raw != nil {
		var info struct {
			Username string         `json:"username"`
			Groups   []string       `json:"groups"`
			Extra    map[string]any `json:"extra"`
		}
		if err := json.Unmarshal(raw, &info); err != nil {
			return fmt.Errorf("decision %s: %w", r.Decision, err)
		}
		extra := map[string]any{}
		if strings.HasPrefix(info.Username, "system:") {
			extra = info.Extra // that it has a token of its own tells a component
		}
		written, err := json.Marshal(map[string]any{
			"username": n.user(info.Username), "groups": n.each(info.Groups), "uid": "", "extra": extra,
		})
		if err != nil {
			return fmt.Errorf("decision %s: %w", r.Decision, err)
		}
		input["userInfo"] = written
	}
	if raw := input["source"]; raw != nil {
		var source map[string]any
		if err := json.Unmarshal(raw, &source); err != nil {
			return fmt.Errorf("decision %s: %w", r.Decision, err)
		}
		if author, _ := source["author"].(string); author != "" {
			source["author"] = n.user(author)
		}
		written, err := json.Marshal(source)
		if err != nil {
			return fmt.Errorf("decision %s: %w", r.Decision, err)
		}
		input["source"] = written
	}
	written, err := json.Marshal(input)
	if err != nil {
		return fmt.Errorf("decision %s: %w", r.Decision, err)
	}
	r.Basis.Input = written
	return nil
}
