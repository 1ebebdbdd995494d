# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

# METADATA
# description: An exception permits everything and has no end
# related_resources:
#   - description: documentation
#     ref: https://github.com/mainstay-gitops/mainstay/blob/main/policy/README.md#what-goes-wrong
package custom.regal.rules.mainstay["wide-without-end"]

import data.mainstay.regal
import data.regal.result

# METADATA
# description: All paths, and neither until nor ttl
report contains violation if {
	some rule in regal.entries
	rule.head.ref[0].value == "exception"
	some path in regal.member(rule, "paths").value
	path.value in {"**", "*"}
	not regal.member(rule, "until")
	not regal.member(rule, "ttl")
	violation := result.fail(rego.metadata.chain(), result.location(path))
}
