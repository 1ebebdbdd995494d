# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# description: >-
#   A part of an account's name fits other accounts, too: compare the whole name, or
#   ask lib.by_service_account
# related_resources:
#   - description: documentation
#     ref: https://github.com/mainstay-gitops/mainstay/blob/main/policy/README.md#what-goes-wrong
package custom.regal.rules.mainstay["user-by-prefix"]

import data.mainstay.regal
import data.regal.result

# METADATA
# description: The name of the user, or a part of it, is compared
report contains violation if {
	not regal.test
	some call in regal.calls
	regal.called(call) in {"contains", "endswith", "glob.match", "startswith"}
	some term in array.slice(call, 1, count(call))
	term.type == "ref"
	regal.dotted(term) == "input.userInfo.username"
	not whole_namespace(call)
	violation := result.fail(rego.metadata.chain(), result.location(call[0]))
}

# Nobody else can be called like the accounts of one namespace, or like a node.
whole_namespace(call) if {
	some term in array.slice(call, 1, count(call))
	term.type == "string"
	regex.match(`^system:(node|serviceaccount:[^:]+):$`, term.value)
}
