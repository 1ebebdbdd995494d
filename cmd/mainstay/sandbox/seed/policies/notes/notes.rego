package notes

import data.mainstay.lib

# METADATA
# title: Whoever is on call may leave a note on an object
exception contains {"reason": "a note changes nothing that runs", "paths": [`metadata.annotations["oncall-note"]`]} if {
	lib.by_group("developers")
	input.operation == "UPDATE"
}
