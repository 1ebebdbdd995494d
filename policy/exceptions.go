// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
)

// CompileExceptions writes declarative exceptions as Rego, in the package
// exceptions. sync names where they come from, for the file's first line. The
// error is a *LoadError that says which exception.
func CompileExceptions(sync string, list []v1alpha1.Exception) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Compiled from policies.exceptions of %s.\npackage exceptions\n", text(sync))
	var items []Problem
	for i, x := range list {
		where := fmt.Sprintf("%s[%d]", exceptions, i)
		if x.Reason == "" {
			items = append(items, Problem{File: where, Message: "reason is missing"})
		}
		if len(x.Paths) == 0 {
			items = append(items, Problem{File: where, Message: "paths are missing", Hint: `"**" permits a whole update`})
		}
		for _, p := range x.Paths {
			if _, err := fieldset.ParsePattern(p); err != nil {
				items = append(items, Problem{File: where, Message: err.Error()})
			}
		}
		writeException(&b, x)
	}
	if len(items) > 0 {
		return "", &LoadError{Items: items}
	}
	return b.String(), nil
}

func writeException(b *strings.Builder, x v1alpha1.Exception) {
	fmt.Fprintf(b, "\n# METADATA\n# title: %s\n", text(x.Reason))
	fmt.Fprintf(b, "exception contains {\"reason\": %s, \"paths\": %s", text(x.Reason), text(x.Paths))
	if x.Until != nil {
		fmt.Fprintf(b, ", \"until\": %s", text(x.Until.UTC().Format(time.RFC3339)))
	}
	b.WriteString("} if {\n\tinput.operation != \"DELETE\"\n")
	if len(x.Kinds) > 0 {
		fmt.Fprintf(b, "\tsome kind in %s\n", text(x.Kinds))
		b.WriteString("\tkind in {input.kind.kind, concat(\".\", [input.kind.kind, input.kind.group])}\n")
	}
	if len(x.Names) > 0 {
		patterns := make([]string, len(x.Names))
		for i, name := range x.Names {
			patterns[i] = "^" + strings.ReplaceAll(regexp.QuoteMeta(name), `\*`, ".*") + "$"
		}
		fmt.Fprintf(b, "\tsome pattern in %s\n\tregex.match(pattern, input.name)\n", text(patterns))
	}
	if len(x.Users) > 0 {
		fmt.Fprintf(b, "\tinput.userInfo.username in %s\n", text(x.Users))
	}
	b.WriteString("}\n")
}

// text writes a string or a list of strings as Rego, which has JSON's syntax
// for them.
func text(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return `""` // strings always encode
	}
	return string(out)
}
