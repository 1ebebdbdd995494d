# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.flagger_test

import data.library.flagger
import data.mainstay.testing

controller := testing.service_account("flagger-system", "flagger")

canary := {"spec": {
	"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
	"autoscalerRef": {"kind": "HorizontalPodAutoscaler", "name": "web"},
	"ingressRef": {"kind": "Ingress", "name": "web"},
	"service": {"port": 80},
}}

cluster := {
	"flagger.app": {"Canary": {"shop": {"web": canary}}},
	"autoscaling": {"HorizontalPodAutoscaler": {"shop": {"web-primary": {"spec": {"maxReplicas": 6}}}}},
}

kind(group, name) := {"kind": {"group": group, "version": "v1", "kind": name}}

permitted(overrides) if {
	count(flagger.exception) == 1 with input as testing.request(object.union(controller, overrides))
		with data.cluster as cluster
}

stays(overrides) if {
	count(flagger.exception) == 1 with input as testing.drift(overrides) with data.cluster as cluster
}

replicas(to) := {"changes": [testing.change("spec.replicas", 2, to)]}

test_the_target_sleeps_and_wakes if {
	permitted(replicas(0))
	permitted(replicas(6))
	stays(replicas(0))
	not permitted(replicas(7))
	not permitted(object.union(replicas(0), {"name": "db"}))
}

test_without_an_autoscaler_it_only_sleeps if {
	alone := {"flagger.app": {"Canary": {"shop": {"web": {"spec": object.remove(canary.spec, ["autoscalerRef"])}}}}}
	i := object.union(controller, replicas(0))
	count(flagger.exception) == 1 with input as testing.request(i) with data.cluster as alone
	count(flagger.exception) == 0 with input as testing.request(object.union(controller, replicas(3)))
		with data.cluster as alone
}

test_with_keda_it_wakes_to_the_least if {
	spec := object.union(canary.spec, {"autoscalerRef": {"kind": "ScaledObject", "name": "web"}})
	keda := {
		"flagger.app": {"Canary": {"shop": {"web": {"spec": spec}}}},
		"keda.sh": {"ScaledObject": {"shop": {"web": {"spec": {"minReplicaCount": 3}}}}},
	}
	count(flagger.exception) == 1 with input as testing.request(object.union(controller, replicas(3)))
		with data.cluster as keda
	count(flagger.exception) == 0 with input as testing.request(object.union(controller, replicas(4)))
		with data.cluster as keda
	key := ["metadata", "annotations", "autoscaling.keda.sh/paused-replicas"]
	paused := {"changes": [object.union(testing.added("x", "0"), {"segments": key})]}
	i := object.union_n([controller, kind("keda.sh", "ScaledObject"), paused])
	count(flagger.exception) == 1 with input as testing.request(i) with data.cluster as keda
	going := object.union_n([i, {"changes": [object.union(paused.changes[0], {"to": "5"})]}])
	count(flagger.exception) == 0 with input as testing.request(going) with data.cluster as keda
}

test_a_daemonset_sleeps if {
	target := object.union(canary.spec, {"targetRef": {"kind": "DaemonSet", "name": "web"}})
	agents := {"flagger.app": {"Canary": {"shop": {"web": {"spec": target}}}}}
	key := ["spec", "template", "spec", "nodeSelector", "flagger.app/scale-to-zero"]
	asleep := {"changes": [object.union(testing.added("x", "true"), {"segments": key})]}
	i := object.union_n([controller, kind("apps", "DaemonSet"), asleep])
	count(flagger.exception) == 1 with input as testing.request(i) with data.cluster as agents
	count(flagger.exception) == 0 with input as testing.request(object.union(i, {"name": "db"}))
		with data.cluster as agents
}

selector(from, to) := object.union(kind("", "Service"), {"changes": [testing.change("spec.selector.app", from, to)]})

test_services_select_a_version if {
	permitted(selector("web", "web-primary"))
	permitted(selector("web-primary", "web"))
	stays(selector("web", "web-primary"))
}

test_services_select_nothing_else if {
	not permitted(selector("web", "evil"))
	not permitted(selector("db", "web-primary"))
	tier := {"changes": [testing.change("spec.selector.tier", "web", "web-primary")]}
	not permitted(object.union(kind("", "Service"), tier))
	not permitted(object.union(selector("web", "web-primary"), {"name": "db"}))
}

routes(primary, new) := [{"route": [
	{"destination": {"host": "web-primary"}, "weight": primary},
	{"destination": {"host": "web-canary"}, "weight": new},
]}]

virtual(from, to) := object.union(
	kind("networking.istio.io", "VirtualService"),
	{"changes": [testing.change("spec.http", from, to)]},
)

test_weights if {
	permitted(virtual(routes(100, 0), routes(90, 10)))
	stays(virtual(routes(100, 0), routes(0, 100)))
	not permitted(virtual(routes(100, 0), routes(90, 20)))
	not permitted(virtual(routes(100, 0), [{"route": [{"destination": {"host": "evil"}, "weight": 100}]}]))
}

rules(primary, new) := [{"backendRefs": [
	{"name": "web-primary", "weight": primary},
	{"name": "web-canary", "weight": new},
]}]

test_weights_of_the_gateway_api if {
	route := kind("gateway.networking.k8s.io", "HTTPRoute")
	permitted(object.union(route, {"changes": [testing.change("spec.rules", rules(100, 0), rules(50, 50))]}))
	not permitted(object.union(route, {"changes": [testing.change("spec.http", rules(100, 0), rules(50, 50))]}))
}

test_an_nginx_ingress if {
	path := `metadata.annotations["nginx.ingress.kubernetes.io/canary-weight"]`
	ingress := object.union(kind("networking.k8s.io", "Ingress"), {"name": "web-canary"})
	permitted(object.union(ingress, {"changes": [testing.change(path, "0", "20")]}))
	not permitted(object.union(ingress, {"changes": [testing.change(path, "0", "101")]}))
}

test_only_flagger_may_ask if {
	count(flagger.exception) == 0 with input as testing.request(replicas(0)) with data.cluster as cluster
}
