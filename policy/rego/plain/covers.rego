# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package mainstay.lib

# METADATA
# title: A path is covered by a pattern
# description: >-
#   What Mainstay does in Go, in plain Rego, so that opa test and editors need
#   nothing else.
covers(pattern, path) if {
	wanted := concat("", [_step(token) | some token in _tokens(pattern)])
	given := concat("", [sprintf("%s;", [_encoded(token)]) | some token in _tokens(path)])
	regex.match(sprintf("^%s", [wanted]), given)
}

# The steps of a path: fields, quoted keys, and what selects an element.
_tokens(text) := regex.find_n(`\[(?:"(?:[^"\\]|\\.)*"|[^\]"])*\]|[^.\[]+`, text, -1)

_step("**") := `(?:[^;]*;)*`

_step(token) := `[^;]*;` if token in {"*", "[*]"}

_step(token) := sprintf("%s;", [_encoded(token)]) if not token in {"*", "[*]", "**"}

_encoded(token) := base64url.encode_no_pad(json.unmarshal(trim_suffix(trim_prefix(token, "["), "]"))) if {
	startswith(token, `["`)
}

_encoded(token) := base64url.encode_no_pad(token) if not startswith(token, `["`)
