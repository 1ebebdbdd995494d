# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# description: >-
#   Mainstay asks two rules, exception and deny: nothing asks one of this name
# related_resources:
#   - description: documentation
#     ref: https://github.com/mainstay-gitops/mainstay/blob/main/policy/README.md#the-contract
package custom.regal.rules.mainstay["misnamed-entry"]

import data.mainstay.regal
import data.regal.result

# METADATA
# description: A rule with the name that other engines use
report contains violation if {
	not regal.test
	some rule in input.rules
	count(rule.head.ref) == 1
	rule.head.ref[0].value in {
		"allow",
		"allowed",
		"denial",
		"denials",
		"denied",
		"denies",
		"exceptions",
		"permit",
		"permits",
		"violation",
		"violations",
		"warn",
	}
	violation := result.fail(rego.metadata.chain(), result.location(rule.head))
}
