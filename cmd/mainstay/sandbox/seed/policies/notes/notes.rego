package notes

# METADATA
# title: Whoever is on call may leave a note on an object
exception contains {"reason": "a note changes nothing that runs", "paths": [`metadata.annotations["oncall-note"]`]} if {
	"developers" in input.userInfo.groups
	input.operation == "UPDATE"
}
