# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# description: What the rules of the category mainstay share of Rego's syntax tree
package mainstay.regal

# METADATA
# description: Every use of a function or an operator, as the list of its terms
calls contains node.terms if {
	walk(input.rules, [_, node])
	is_array(node.terms)
}

calls contains node.value if {
	walk(input.rules, [_, node])
	node.type == "call"
}

# METADATA
# description: The name of what is called
called(call) := dotted(call[0])

# METADATA
# description: A reference as it is written, for example input.userInfo.username
dotted(term) := concat(".", [part.value | some part in term.value; part.type in {"string", "var"}])

# METADATA
# description: The rules that Mainstay asks, outside of tests
entries contains rule if {
	not test
	some rule in input.rules
	count(rule.head.ref) == 1
	rule.head.ref[0].value in {"deny", "exception"}
}

# METADATA
# description: A test's file is no policy
test if endswith(input.regal.file.name, "_test.rego")

# METADATA
# description: A member of what an entry rule yields, where it is written out
member(rule, name) := value if {
	rule.head.key.type == "object"
	some [key, value] in rule.head.key.value
	key.value == name
}
