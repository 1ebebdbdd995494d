package oncall

import data.mainstay.lib

# METADATA
# title: On call may run more copies of the pages
exception contains {"reason": "a busy hour needs more copies", "paths": ["spec.replicas"]} if {
	lib.by_group("developers")
	input.kind.kind == "Deployment"
	input.name == "web"
	some change in input.changes
	change.path == "spec.replicas"
	change.to >= 2
	change.to <= 8
}
