// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/mainstay-gitops/mainstay/policy"
)

// said is a rule in words: what could be read off it.
type said struct {
	Rule  string `json:"rule"`
	Kind  string `json:"kind"`
	Title string `json:"title,omitempty"`
	File  string `json:"file"`
	Line  int    `json:"line"`
	// Where are the conditions that could be read, by what they are about.
	Where map[string][]string `json:"where,omitempty"`
	// Paths, Until and TTL of the answer, where they are constants; a text in
	// parentheses says that they are not.
	Paths []string `json:"paths,omitempty"`
	Until string   `json:"until,omitempty"`
	TTL   string   `json:"ttl,omitempty"`
	Final bool     `json:"final,omitempty"`
	// Unread are the conditions that could not be, as they stand there.
	Unread []string `json:"unread,omitempty"`
}

// about names the members of input that conditions compare with constants.
var about = map[string]string{ //nolint:gochecknoglobals // a constant
	"input.userInfo.username": "user", "input.namespace": "namespace", "input.name": "name", "input.kind.kind": "kind",
	"input.kind.group": "group", "input.operation": "operation", "input.subResource": "subresource", "input.origin": "origin",
	"input.cluster.name": "cluster", "input.sync.name": "GitSync",
}

// called names the library's functions by what their last argument is about.
var called = map[string]string{ //nolint:gochecknoglobals // a constant
	"data.mainstay.lib.by_user": "user", "data.mainstay.lib.by_group": "group of users", "data.mainstay.lib.by_service_account": "service account",
}

func inWords(e policy.Entry) said {
	s := said{Rule: e.Name, Kind: e.Kind, Title: e.Title, File: e.File, Line: e.Row, Where: map[string][]string{}}
	if e.Rule.Head.Key != nil {
		s.value(e.Rule.Head.Key.Value)
	}
	for _, x := range e.Rule.Body {
		if !s.condition(x) {
			if text := strings.Join(strings.Fields(string(x.Location.Text)), " "); text != "" && text != "true" {
				s.Unread = append(s.Unread, text)
			}
		}
	}
	return s
}

// value reads what the rule answers.
func (s *said) value(v ast.Value) {
	o, ok := v.(ast.Object)
	if !ok {
		s.Paths = []string{"(what " + s.Rule + " makes up)"}
		return
	}
	o.Foreach(func(k, v *ast.Term) {
		key, _ := k.Value.(ast.String)
		switch string(key) {
		case "paths":
			s.Paths = texts(v, "(paths that are made up)")
		case "until":
			s.Until = strings.Join(texts(v, "(a time that is made up)"), "")
		case "ttl":
			s.TTL = strings.Join(texts(v, "(a time that is made up)"), "")
		case "final":
			s.Final = v.Equal(ast.BooleanTerm(true))
		}
	})
}

// texts are constants: one or a list of them.
func texts(t *ast.Term, otherwise string) []string {
	if text, ok := t.Value.(ast.String); ok {
		return []string{string(text)}
	}
	var out []string
	all := true
	each := func(x *ast.Term) {
		text, ok := x.Value.(ast.String)
		all = all && ok
		out = append(out, string(text))
	}
	switch list := t.Value.(type) {
	case *ast.Array:
		list.Foreach(each)
	case ast.Set:
		list.Foreach(each)
	default:
		all = false
	}
	if !all {
		return []string{otherwise}
	}
	return out
}

// condition reads an expression, if it is one of the known forms.
func (s *said) condition(x *ast.Expr) bool {
	if x.Negated || len(x.With) > 0 {
		return false
	}
	if t, ok := x.Terms.(*ast.Term); ok {
		// A call may stand as a term.
		if call, ok := t.Value.(ast.Call); ok {
			return s.call(call[0].String(), call[1:])
		}
		return false
	}
	if !x.IsCall() {
		return false
	}
	return s.call(x.Operator().String(), x.Operands())
}

func (s *said) call(operator string, operands []*ast.Term) bool {
	switch operator {
	case "equal", "eq", "internal.member_2":
		if len(operands) != 2 {
			return false
		}
		for _, pair := range [][2]*ast.Term{{operands[0], operands[1]}, {operands[1], operands[0]}} {
			what, ok := about[pair[0].String()]
			if !ok {
				continue
			}
			if list := texts(pair[1], ""); !slices.Contains(list, "") {
				s.Where[what] = append(s.Where[what], list...)
				return true
			}
		}
		if operator == "internal.member_2" && operands[1].String() == "input.userInfo.groups" {
			if text, ok := operands[0].Value.(ast.String); ok {
				s.Where["group of users"] = append(s.Where["group of users"], string(text))
				return true
			}
		}
		return false
	}
	what, ok := called[resolved(operator)]
	if !ok {
		return false
	}
	var parts []string
	for _, t := range operands {
		text, ok := t.Value.(ast.String)
		if !ok {
			return false
		}
		parts = append(parts, string(text))
	}
	s.Where[what] = append(s.Where[what], strings.Join(parts, "/"))
	return true
}

// resolved is the library's function behind the name that an import gives it.
func resolved(operator string) string {
	if name, ok := strings.CutPrefix(operator, "lib."); ok {
		return "data.mainstay.lib." + name
	}
	return operator
}

// wide tells whether an exception covers everything, or deletes, and has no end.
func (s *said) wide() bool {
	if s.Kind != "exception" || s.Until != "" || s.TTL != "" {
		return false
	}
	return len(s.Paths) == 0 || slices.Contains(s.Paths, "**")
}

// sentence is for example: permits spec.replicas of Deployment in shop to user
// alice, no end.
func (s *said) sentence(markdown bool) string {
	code := func(text string) string {
		if markdown {
			return "`" + strings.ReplaceAll(text, "`", "'") + "`"
		}
		return text
	}
	each := func(list []string) string {
		out := make([]string, len(list))
		for i, text := range list {
			out[i] = code(text)
		}
		return strings.Join(out, ", ")
	}
	var b strings.Builder
	if s.Kind == "deny" {
		b.WriteString("forbids changes")
	} else {
		switch {
		case len(s.Paths) > 0:
			b.WriteString("permits " + each(s.Paths))
		default:
			b.WriteString("permits deletes and what else has no paths")
		}
	}
	of := s.Where["kind"]
	if len(of) == 0 {
		b.WriteString(" of any kind")
	} else {
		b.WriteString(" of " + each(of))
	}
	for _, part := range [][2]string{{"name", " called "}, {"namespace", " in "}, {"GitSync", " of GitSync "}, {"cluster", " of cluster "}} {
		if list := s.Where[part[0]]; len(list) > 0 {
			b.WriteString(part[1] + each(list))
		}
	}
	if len(s.Where["namespace"]) == 0 {
		b.WriteString(" in all namespaces")
	}
	who := []string{}
	for _, what := range []string{"user", "group of users", "service account"} {
		if list := s.Where[what]; len(list) > 0 {
			who = append(who, what+" "+each(list))
		}
	}
	to := " to "
	if s.Kind == "deny" {
		to = " by "
	}
	if len(who) == 0 {
		who = []string{"anyone"}
	}
	b.WriteString(to + strings.Join(who, " and "))
	for _, what := range []string{"operation", "subresource", "origin"} {
		if list := s.Where[what]; len(list) > 0 {
			b.WriteString(", " + what + " " + each(list))
		}
	}
	switch {
	case s.Until != "":
		b.WriteString(", until " + code(s.Until))
	case s.TTL != "":
		b.WriteString(", for " + code(s.TTL) + " each time")
	default:
		b.WriteString(", no end")
	}
	if s.Final {
		b.WriteString(", also against a break-glass")
	}
	if len(s.Unread) > 0 {
		fmt.Fprintf(&b, "; only if %s", each(s.Unread))
	}
	fmt.Fprintf(&b, " (%s, %s:%d)", code(s.Rule), s.File, s.Line)
	if s.Title != "" {
		b.WriteString(": " + s.Title)
	}
	return b.String()
}
