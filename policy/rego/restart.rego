# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package restart

# METADATA
# title: kubectl rollout restart
# description: >-
#   The annotation that restarts pods, with the time of now. It changes nothing
#   else and stays for good. Whoever may update the object may restart it.
exception contains {
	"reason": "a restart changes nothing that git says",
	"paths": [path],
} if {
	input.origin == "request"
	some change in input.changes
	change.path == path
	change.op in {"add", "replace"}
	is_string(change.to)
	regex.match(`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2})$`, change.to)
	distance := abs(time.parse_rfc3339_ns(change.to) - time.parse_rfc3339_ns(input.time))
	distance <= 60000000000
}

path := `spec.template.metadata.annotations["kubectl.kubernetes.io/restartedAt"]`
