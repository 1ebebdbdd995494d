# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.linkerd_test

import data.library.linkerd
import data.mainstay.testing

core(kind) := {"kind": {"group": "", "version": "v1", "kind": kind}}

mark(kind, key, to) := {"changes": [object.union(testing.added("x", to), {"segments": ["metadata", kind, key]})]}

meshed := {"namespaceObject": {"annotations": {
	"linkerd.io/inject": "enabled",
	"config.linkerd.io/opaque-ports": "3306",
	"config.linkerd.io/proxy-cpu-request": "100m",
}}}

permitted(kind, overrides) if {
	count(linkerd.exception) == 1 with input as testing.request(object.union_n([core(kind), meshed, overrides]))
}

test_marks_in_the_mesh if {
	permitted("Pod", mark("annotations", "linkerd.io/proxy-version", "edge"))
	permitted("Pod", mark("labels", "linkerd.io/control-plane-ns", "linkerd"))
	not permitted("Pod", mark("labels", "linkerd.io/control-plane-ns", "evil"))
	not permitted("Pod", mark("labels", "app", "x"))
	not permitted("Deployment", mark("annotations", "linkerd.io/proxy-version", "edge"))
	outside := object.union(core("Pod"), mark("annotations", "linkerd.io/proxy-version", "edge"))
	count(linkerd.exception) == 0 with input as testing.request(outside)
}

test_settings_are_those_of_the_namespace if {
	permitted("Pod", mark("annotations", "config.linkerd.io/proxy-cpu-request", "100m"))
	permitted("Pod", mark("annotations", "linkerd.io/inject", "enabled"))
	not permitted("Pod", mark("annotations", "config.linkerd.io/proxy-cpu-request", "1"))
	not permitted("Pod", mark("annotations", "config.linkerd.io/proxy-image", "evil"))
	not permitted("Pod", mark("annotations", "linkerd.io/inject", "disabled"))
}

test_ports_are_those_of_the_namespace if {
	permitted("Pod", mark("annotations", "config.linkerd.io/opaque-ports", "3306"))
	permitted("Service", mark("annotations", "config.linkerd.io/opaque-ports", "3306"))
	not permitted("Service", mark("annotations", "config.linkerd.io/opaque-ports", "5432"))
}

ports(list) := object.union(core("Service"), mark("annotations", "config.linkerd.io/opaque-ports", list))

test_or_the_usual_ones if {
	count(linkerd.exception) == 1 with input as testing.request(ports("3306,5432"))
	count(linkerd.exception) == 0 with input as testing.request(ports("3306,80"))
	count(linkerd.exception) == 0 with input as testing.request(ports(""))
}

test_what_git_declares_is_no_mark if {
	one := mark("annotations", "config.linkerd.io/opaque-ports", "3306").changes[0]
	not permitted("Service", {"changes": [object.union(one, {"declared": true})]})
}

test_drift_is_judged_by_its_value if {
	i := object.union_n([core("Pod"), meshed, mark("annotations", "config.linkerd.io/opaque-ports", "3306")])
	count(linkerd.exception) == 1 with input as testing.drift(i)
}

viz(to) := object.union_n([
	core("Namespace"),
	{"name": "linkerd-viz", "namespace": ""},
	mark("labels", "linkerd.io/extension", to),
])

job := testing.service_account("linkerd-viz", "namespace-metadata")

test_the_namespace_of_an_extension if {
	count(linkerd.exception) == 1 with input as testing.request(object.union(job, viz("viz")))
	count(linkerd.exception) == 0 with input as testing.request(object.union(job, viz("jaeger")))
	count(linkerd.exception) == 0 with input as testing.request(object.union_n([job, viz("viz"), {"name": "shop"}]))
}

test_only_the_job_may_ask if {
	count(linkerd.exception) == 0 with input as testing.request(viz("viz"))
	count(linkerd.exception) == 1 with input as testing.drift(viz("viz"))
}
