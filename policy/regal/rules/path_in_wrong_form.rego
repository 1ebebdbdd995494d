# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# description: >-
#   Paths are written as a refusal prints them, spec.template.spec.containers[name=web].image:
#   no JSON pointer, and no position in a list
# related_resources:
#   - description: documentation
#     ref: https://github.com/mainstay-gitops/mainstay/blob/main/policy/README.md#paths
package custom.regal.rules.mainstay["path-in-wrong-form"]

import data.mainstay.regal
import data.regal.result

# METADATA
# description: A text that no path is ever equal to
report contains violation if {
	not regal.test
	walk(input.rules, [_, term])
	term.type == "string"
	regex.match(`^/(data|metadata|spec|status)(/|$)|^(data|metadata|spec)\.[^ ]*\[[0-9]+\]`, term.value)
	violation := result.fail(rego.metadata.chain(), result.location(term))
}
