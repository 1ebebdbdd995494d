// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/sync/apply"
)

// What a real API server makes of manifests, written in all the ways that people
// write them, is nobody's mutation.
func TestTheAPIServersOwnFormsAreNoMutation(t *testing.T) {
	s := newStage(t)
	for name, manifest := range map[string]string{
		"deployments.apps": `
metadata: {name: x, creationTimestamp: null, labels: {a: "", b: "1.0"}, annotations: {n: "1000m", kubectl.kubernetes.io/last-applied-configuration: "{}"}}
spec:
  replicas: 0
  paused: false
  revisionHistoryLimit: 0
  minReadySeconds: 0
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 1}}
  selector: {matchLabels: {app: x}}
  template:
    metadata: {creationTimestamp: null, labels: {app: x}}
    spec:
      hostNetwork: false
      serviceAccount: runner
      securityContext: {}
      nodeSelector: {}
      tolerations: []
      restartPolicy: ""
      terminationGracePeriodSeconds: 0
      volumes:
      - {name: cache, emptyDir: {sizeLimit: 1024Mi, medium: ""}}
      - name: token
        projected: {sources: [{serviceAccountToken: {path: t}}, {configMap: {name: c, items: [{key: a, path: b}]}}]}
      - {name: c, configMap: {name: c, optional: false, defaultMode: 420}}
      containers:
      - name: x
        image: nginx
        args: [b, a]
        ports: [{containerPort: 80}, {name: m, containerPort: 81, protocol: TCP}]
        env: [{name: A, value: ""}, {name: B, value: "1"}, {name: C, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        resources: {requests: {cpu: 1, memory: 1073741824, ephemeral-storage: 1.5Gi}, limits: {cpu: 2000m, memory: 2048Mi}}
        livenessProbe: {httpGet: {path: /, port: m, scheme: ""}, initialDelaySeconds: 0, timeoutSeconds: 0, periodSeconds: 0}
        securityContext: {privileged: false, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: c, mountPath: /c, readOnly: false, subPath: ""}]
        lifecycle: {preStop: {sleep: {seconds: 0}}}
status: {}
`,
		"statefulsets.apps": `
metadata: {name: x}
spec:
  serviceName: x
  selector: {matchLabels: {app: x}}
  template: {metadata: {labels: {app: x}}, spec: {containers: [{name: x, image: nginx}]}}
  volumeClaimTemplates:
  - {metadata: {name: d}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}
`,
		"secrets.":    "metadata: {name: x}\ntype: \"\"\nstringData: {a: abc, c: \"\"}\ndata: {a: b2xk, b: \"YWJj\\nZGVm\"}\n",
		"configmaps.": "metadata: {name: x}\ndata: {a: \"\", b: 1000m, c: \"2026-01-02T03:04:05+02:00\"}\nbinaryData: {d: \"YWJj\\nZGVm\"}\nimmutable: false\n",
		"services.": `
metadata: {name: x}
spec: {type: "", clusterIP: "", selector: {app: x}, ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81, protocol: ""}], externalIPs: [], sessionAffinity: None, allocateLoadBalancerNodePorts: null}
`,
		"cronjobs.batch": `
metadata: {name: x}
spec: {schedule: "@daily", suspend: false, startingDeadlineSeconds: 0, jobTemplate: {spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: x, image: nginx}]}}}}}
`,
		"ingresses.networking.k8s.io":       "metadata: {name: x}\nspec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: x, port: {number: 80}}}}]}}], tls: []}\n",
		"networkpolicies.networking.k8s.io": "metadata: {name: x}\nspec: {podSelector: {}, ingress: [{}], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: []}}], ports: [{port: 53}]}]}\n",
		"poddisruptionbudgets.policy":       "metadata: {name: x}\nspec: {minAvailable: 50%, selector: {matchLabels: {}}}\n",
		"roles.rbac.authorization.k8s.io":   "metadata: {name: x}\nrules: [{apiGroups: [\"\"], resources: [pods], verbs: [list, get]}]\n",
		"rolebindings.rbac.authorization.k8s.io": "metadata: {name: x}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: x}\n" +
			"subjects: [{kind: ServiceAccount, name: a, apiGroup: \"\"}, {kind: User, name: u, apiGroup: \"\"}]\n",
		"serviceaccounts.":        "metadata: {name: x}\nautomountServiceAccountToken: false\nimagePullSecrets: []\nsecrets: null\n",
		"resourcequotas.":         "metadata: {name: x}\nspec: {hard: {cpu: 1000m, pods: 10, requests.storage: 1024Mi}}\n",
		"limitranges.":            "metadata: {name: x}\nspec: {limits: [{type: Container, default: {cpu: 1000m}, defaultRequest: {cpu: 0.5}}]}\n",
		"persistentvolumeclaims.": "metadata: {name: x}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}, volumeName: \"\"}\n",
	} {
		t.Run(name, func(t *testing.T) {
			resource := schema.ParseGroupResource(name)
			kind := map[string]string{
				"deployments": "Deployment", "statefulsets": "StatefulSet", "secrets": "Secret", "configmaps": "ConfigMap", "services": "Service",
				"cronjobs": "CronJob", "ingresses": "Ingress", "networkpolicies": "NetworkPolicy", "poddisruptionbudgets": "PodDisruptionBudget",
				"roles": "Role", "rolebindings": "RoleBinding", "serviceaccounts": "ServiceAccount", "resourcequotas": "ResourceQuota",
				"limitranges": "LimitRange", "persistentvolumeclaims": "PersistentVolumeClaim",
			}[resource.Resource]
			version := schema.GroupVersion{Group: resource.Group, Version: "v1"}
			desired, err := yaml.YAMLToJSON([]byte("apiVersion: " + version.String() + "\nkind: " + kind + "\n" + manifest))
			must(t, err)
			target := s.target(resource.Group, resource.Resource, "x")
			for _, w := range []apply.Write{{DryRun: true}, {}} {
				answer, err := s.applier.Apply(t.Context(), target, desired, w)
				must(t, err)
				mutated, err := answer.Mutated(desired)
				must(t, err)
				for _, m := range mutated {
					t.Errorf("dry run %t: %s", w.DryRun, m)
				}
			}
		})
	}
}
