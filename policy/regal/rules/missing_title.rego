# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# description: An entry rule without a title, which lists and reviews show
# related_resources:
#   - description: documentation
#     ref: https://github.com/mainstay-gitops/mainstay/blob/main/policy/README.md#what-goes-wrong
package custom.regal.rules.mainstay["missing-title"]

import data.mainstay.regal
import data.regal.result

# METADATA
# description: No METADATA with a title above it
report contains violation if {
	some rule in regal.entries
	titles := [annotation.title | some annotation in rule.annotations]
	count(titles) == 0
	violation := result.fail(rego.metadata.chain(), result.location(rule.head))
}
