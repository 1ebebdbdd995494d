# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

package library.argo_rollouts_test

import data.library.argo_rollouts as rollouts
import data.mainstay.testing

controller := testing.service_account("argo-rollouts", "argo-rollouts")

canary := {
	"metadata": {"name": "web"},
	"spec": {
		"replicas": 4,
		"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
		"strategy": {"canary": {
			"stableService": "web",
			"canaryService": "web-canary",
			"pingPong": {"pingService": "web-ping", "pongService": "web-pong"},
			"trafficRouting": {
				"managedRoutes": [{"name": "by-header"}],
				"istio": {"virtualService": {"name": "web"}, "destinationRule": {"name": "web"}},
				"alb": {"ingress": "web", "ingresses": ["api"], "rootService": "root"},
				"nginx": {"stableIngress": "web"},
			},
		}},
	},
	"status": {"currentPodHash": "b2", "stableRS": "a1"},
}

cluster := {"argoproj.io": {"Rollout": {"shop": {"web": canary}}}}

kind(group, name) := {"kind": {"group": group, "version": "v1", "kind": name}}

permitted(overrides) if {
	count(rollouts.exception) == 1 with input as testing.request(object.union(controller, overrides))
		with data.cluster as cluster
}

stays(overrides) if {
	count(rollouts.exception) == 1 with input as testing.drift(overrides) with data.cluster as cluster
}

selector(to) := object.union(
	kind("", "Service"),
	{"changes": [testing.added("spec.selector.rollouts-pod-template-hash", to)]},
)

test_a_service_selects_a_version if {
	permitted(selector("a1"))
	permitted(selector("b2"))
	stays(selector("b2"))
}

test_a_service_selects_nothing_else if {
	not permitted(selector("c3"))
	not stays(selector("c3"))
	not permitted(object.union(selector("a1"), {"name": "other"}))
	other := {"changes": [testing.change("spec.selector.app", "web", "evil")]}
	not permitted(object.union(kind("", "Service"), other))
}

routes(stable, new) := [{"name": "main", "route": [
	{"destination": {"host": "web"}, "weight": stable},
	{"destination": {"host": "web-canary"}, "weight": new},
]}]

virtual(from, to) := object.union(
	kind("networking.istio.io", "VirtualService"),
	{"changes": [testing.change("spec.http", from, to)]},
)

test_weights if {
	permitted(virtual(routes(100, 0), routes(80, 20)))
	stays(virtual(routes(100, 0), routes(0, 100)))
}

test_only_weights if {
	not permitted(virtual(routes(100, 0), routes(80, 30)))
	not permitted(virtual(routes(100, 0), routes(200, -100)))
	elsewhere := [{"name": "main", "route": [{"destination": {"host": "evil"}, "weight": 100}]}]
	not permitted(virtual(routes(100, 0), elsewhere))
	not permitted(virtual(routes(100, 0), array.concat(routes(80, 20), elsewhere)))
}

test_routes_that_the_rollout_manages if {
	header := [{"name": "by-header", "match": [{}], "route": [{"destination": {"host": "web-canary"}}]}]
	permitted(virtual(routes(100, 0), array.concat(header, routes(80, 20))))
}

subsets(hash) := [{"name": "stable", "labels": {"app": "web", "rollouts-pod-template-hash": hash}}]

test_subsets if {
	rule := kind("networking.istio.io", "DestinationRule")
	permitted(object.union(rule, {"changes": [testing.change("spec.subsets", subsets("a1"), subsets("b2"))]}))
	not permitted(object.union(rule, {"changes": [testing.change("spec.subsets", subsets("a1"), subsets("c3"))]}))
	other := [{"name": "stable", "labels": {"app": "evil", "rollouts-pod-template-hash": "b2"}}]
	not permitted(object.union(rule, {"changes": [testing.change("spec.subsets", subsets("a1"), other)]}))
}

action(service, weight) := json.marshal({
	"Type": "forward",
	"ForwardConfig": {"TargetGroups": [
		{"ServiceName": "web", "ServicePort": "80", "Weight": 100 - weight},
		{"ServiceName": service, "ServicePort": "80", "Weight": weight},
	]},
})

test_an_alb_ingress if {
	path := `metadata.annotations["alb.ingress.kubernetes.io/actions.web"]`
	ingress := kind("networking.k8s.io", "Ingress")
	permitted(object.union(ingress, {"changes": [testing.change(path, "{}", action("web-canary", 20))]}))
	permitted(object.union(ingress, {"name": "api", "changes": [testing.change(path, "{}", action("web-pong", 20))]}))
	root := `metadata.annotations["alb.ingress.kubernetes.io/actions.root"]`
	permitted(object.union(ingress, {"changes": [testing.change(root, "{}", action("web-canary", 20))]}))
	not permitted(object.union(ingress, {"name": "db", "changes": [testing.change(path, "{}", action("web-canary", 20))]}))
	not permitted(object.union(ingress, {"changes": [testing.change(path, "{}", action("evil", 20))]}))
	not permitted(object.union(ingress, {"changes": [testing.change(path, "{}", "{}")]}))
}

test_an_nginx_ingress if {
	path := `metadata.annotations["nginx.ingress.kubernetes.io/canary-weight"]`
	ingress := object.union(kind("networking.k8s.io", "Ingress"), {"name": "web-web-canary"})
	permitted(object.union(ingress, {"changes": [testing.change(path, "0", "20")]}))
	not permitted(object.union(ingress, {"changes": [testing.change(path, "0", "200")]}))
}

annotated(key, to) := {"changes": [object.union(
	testing.added("x", to),
	{"segments": ["metadata", "annotations", key]},
)]}

test_what_belongs_to_a_rollout_is_marked if {
	key := "argo-rollouts.argoproj.io/managed-by-rollouts"
	permitted(object.union(kind("", "Service"), annotated(key, "web")))
	permitted(object.union(kind("networking.istio.io", "DestinationRule"), annotated(key, "web")))
	permitted(object.union(
		kind("networking.k8s.io", "Ingress"),
		annotated("rollouts.argoproj.io/managed-alb-annotations", "{}"),
	))
	not permitted(object.union(kind("", "Service"), annotated(key, "other")))
	not permitted(object.union(kind("", "Service"), annotated("example.com/x", "web")))
	not permitted(object.union_n([kind("", "Service"), {"name": "db"}, annotated(key, "web")]))
}

test_revisions_are_counted if {
	key := "rollout.argoproj.io/revision"
	permitted(object.union(kind("argoproj.io", "Rollout"), annotated(key, "3")))
	stays(object.union(kind("argoproj.io", "Rollout"), annotated(key, "3")))
	not permitted(object.union(kind("argoproj.io", "Rollout"), annotated(key, "three")))
	not permitted(object.union(kind("argoproj.io", "Rollout"), annotated("example.com/x", "3")))
	declared := {"changes": [object.union(annotated(key, "3").changes[0], {"declared": true})]}
	not permitted(object.union(kind("argoproj.io", "Rollout"), declared))
}

test_a_deployment_that_is_taken_over if {
	permitted({"changes": [testing.change("spec.replicas", 4, 0)]})
	stays({"changes": [testing.change("spec.replicas", 4, 2)]})
	not permitted({"changes": [testing.change("spec.replicas", 4, 5)]})
	not permitted({"name": "db", "changes": [testing.change("spec.replicas", 4, 0)]})
}

test_only_the_controller_may_ask if {
	count(rollouts.exception) == 0 with input as testing.request(selector("a1")) with data.cluster as cluster
	count(rollouts.exception) == 0 with input as testing.request(object.union(
		testing.service_account("shop", "argo-rollouts"),
		selector("a1"),
	))
		with data.cluster as cluster
}
