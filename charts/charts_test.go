// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package charts_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/mainstay-gitops/mainstay/charts"
	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/config/crds"
)

const namespace = "mainstay-system"

func render(t *testing.T, values map[string]any) []*unstructured.Unstructured {
	t.Helper()
	objects, err := charts.Render(charts.Options{Namespace: namespace, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// find decodes the one object of that kind and name into typed, strictly.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string, typed any) {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() != kind || object.GetName() != name {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, typed, true); err != nil {
			t.Fatalf("decode %s %s: %v", kind, name, err)
		}
		return
	}
	t.Fatalf("there is no %s %s", kind, name)
}

func TestRenderHoldsWhatIsAskedFor(t *testing.T) {
	always := []string{
		"ClusterRole mainstay", "ClusterRole mainstay-approver", "ClusterRole mainstay-edit", "ClusterRole mainstay-view",
		"ClusterRoleBinding mainstay", "ClusterRoleBinding mainstay-apply-cluster-admin",
		"CustomResourceDefinition breakglasses.mainstay.dev", "CustomResourceDefinition changepolicies.mainstay.dev",
		"CustomResourceDefinition gitsyncs.mainstay.dev", "CustomResourceDefinition inventories.mainstay.dev",
		"Role mainstay", "Role mainstay-reader", "RoleBinding mainstay", "RoleBinding mainstay-authentication-reader", "ServiceAccount mainstay",
	}
	program := []string{"ConfigMap mainstay", "Deployment mainstay", "PodDisruptionBudget mainstay", "Service mainstay"}
	tests := map[string]struct {
		values map[string]any
		want   []string
	}{
		"the defaults hold the program, the rights and the definitions": {
			want: append(slices.Clone(always), program...),
		},
		"controller.enabled=false leaves the program out": {
			values: map[string]any{"controller": map[string]any{"enabled": false}},
			want:   slices.Clone(always),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, object := range render(t, tt.values) {
				got = append(got, object.GetKind()+" "+object.GetName())
				if object.GetLabels()["app.kubernetes.io/name"] != "mainstay" && object.GetKind() != "CustomResourceDefinition" {
					t.Errorf("%s %s lacks the label app.kubernetes.io/name", object.GetKind(), object.GetName())
				}
			}
			if !strings.HasPrefix(got[0], "CustomResourceDefinition ") {
				t.Errorf("the first object is %s, want a CustomResourceDefinition", got[0])
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenderRefusesBadInput(t *testing.T) {
	tests := map[string]struct {
		opts charts.Options
		want string
	}{
		"no namespace":          {charts.Options{}, "Options.Namespace is required"},
		"an unknown key":        {charts.Options{Namespace: namespace, Values: map[string]any{"replicas": 1}}, "replicas"},
		"an unknown nested key": {charts.Options{Namespace: namespace, Values: map[string]any{"config": map[string]any{"cluster": "x"}}}, "cluster"},
		"a delay of minutes":    {charts.Options{Namespace: namespace, Values: map[string]any{"config": map[string]any{"webhook": map[string]any{"shutdownDelay": "1m"}}}}, "/config/webhook/shutdownDelay"},
		"a wrong type":          {charts.Options{Namespace: namespace, Values: map[string]any{"controller": map[string]any{"replicas": "two"}}}, "/controller/replicas"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := charts.Render(tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one that holds %q", err, tt.want)
			}
		})
	}
}

func TestDefinitionsAreTheGeneratedOnesAndKept(t *testing.T) {
	want, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	objects := render(t, nil)
	for _, crd := range want {
		got := &apiextensionsv1.CustomResourceDefinition{}
		find(t, objects, "CustomResourceDefinition", crd.Name, got)
		if got.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s would be deleted with the release", crd.Name)
		}
		if diff := cmp.Diff(crd.Spec, got.Spec); diff != "" {
			t.Errorf("%s differs from config/crds: run make generate (-want +got):\n%s", crd.Name, diff)
		}
	}
}

func TestDeploymentIsRestrictedAndReadsTheConfiguration(t *testing.T) {
	deployment := &appsv1.Deployment{}
	find(t, render(t, nil), "Deployment", "mainstay", deployment)

	pod := deployment.Spec.Template.Spec
	container := pod.Containers[0]
	if diff := cmp.Diff([]string{"controller", "--config", "/etc/mainstay/config.yaml"}, container.Args); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
	volumes := map[string]corev1.VolumeSource{}
	for _, volume := range pod.Volumes {
		volumes[volume.Name] = volume.VolumeSource
	}
	mounts := map[string]corev1.VolumeSource{}
	for _, mount := range container.VolumeMounts {
		mounts[mount.MountPath] = volumes[mount.Name]
	}
	if source := mounts["/etc/mainstay"].ConfigMap; source == nil || source.Name != "mainstay" {
		t.Errorf("/etc/mainstay is %+v, want the ConfigMap mainstay", mounts["/etc/mainstay"])
	}
	for _, dir := range []string{"/tmp", "/var/cache/mainstay"} {
		if mounts[dir].EmptyDir == nil {
			t.Errorf("%s can't be written to", dir)
		}
	}
	security := container.SecurityContext
	if !*security.ReadOnlyRootFilesystem || *security.AllowPrivilegeEscalation || !*pod.SecurityContext.RunAsNonRoot {
		t.Errorf("the pod is not restricted: %+v, %+v", pod.SecurityContext, security)
	}
	if *deployment.Spec.Replicas != 2 {
		t.Errorf("replicas = %d, want 2", *deployment.Spec.Replicas)
	}
}

func TestTheAuthoritiesOfClientsAreMounted(t *testing.T) {
	deployment := &appsv1.Deployment{}
	find(t, render(t, map[string]any{"controller": map[string]any{"clientCAConfigMap": "api"}}), "Deployment", "mainstay", deployment)
	pod := deployment.Spec.Template.Spec
	for _, mount := range pod.Containers[0].VolumeMounts {
		if mount.MountPath != "/etc/mainstay-clients" {
			continue
		}
		for _, volume := range pod.Volumes {
			if volume.Name == mount.Name && volume.ConfigMap != nil && volume.ConfigMap.Name == "api" && volume.ConfigMap.Optional == nil && mount.ReadOnly {
				return
			}
		}
	}
	t.Errorf("the ConfigMap api is not mounted: %+v of %+v", pod.Containers[0].VolumeMounts, pod.Volumes)
}

func TestAReplicaIsGivenTheTimeToEnd(t *testing.T) {
	for delay, want := range map[string]int64{"": 45, "0s": 35, "120s": 155} {
		t.Run("webhook.shutdownDelay="+delay, func(t *testing.T) {
			var values map[string]any
			if delay != "" {
				values = map[string]any{"config": map[string]any{"webhook": map[string]any{"shutdownDelay": delay}}}
			}
			deployment := &appsv1.Deployment{}
			find(t, render(t, values), "Deployment", "mainstay", deployment)
			pod := deployment.Spec.Template.Spec
			if got := *pod.TerminationGracePeriodSeconds; got != want {
				t.Errorf("terminationGracePeriodSeconds = %d, want %d", got, want)
			}
			if probe := pod.Containers[0].ReadinessProbe; probe.HTTPGet.Path != "/readyz" || probe.PeriodSeconds > 2 {
				t.Errorf("readiness is asked for at %s every %d s", probe.HTTPGet.Path, probe.PeriodSeconds)
			}
			if n := len(pod.TopologySpreadConstraints); n != 2 {
				t.Errorf("%d constraints spread the replicas, want one for nodes and one for zones", n)
			}
		})
	}
}

func TestConfigMapIsAValidConfiguration(t *testing.T) {
	tests := map[string]struct {
		values map[string]any
		want   func(*config.Config)
	}{
		"the defaults": {want: func(*config.Config) {}},
		"what values set is in the file": {
			values: map[string]any{"config": map[string]any{
				"clusterName":   "prod-eu-1",
				"clusterLabels": map[string]any{"env": "prod"},
				"webhook":       map[string]any{"scaleFailurePolicy": "Fail"},
				"policies":      map[string]any{"personFieldManagers": []any{"kubectl*"}},
			}},
			want: func(c *config.Config) {
				c.ClusterName = "prod-eu-1"
				c.ClusterLabels = map[string]string{"env": "prod"}
				c.Webhook.ScaleFailurePolicy = config.FailurePolicyFail
				c.Policies.PersonFieldManagers = []string{"kubectl*"}
			},
		},
		"clients have to show a certificate": {
			values: map[string]any{
				"controller": map[string]any{"clientCAConfigMap": "api"},
				"config":     map[string]any{"webhook": map[string]any{"clientNames": []any{"kube-apiserver"}}},
			},
			want: func(c *config.Config) {
				c.Webhook.ClientCAFile, c.Webhook.ClientNames = "/etc/mainstay-clients/ca.crt", []string{"kube-apiserver"}
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			configMap := &corev1.ConfigMap{}
			find(t, render(t, tt.values), "ConfigMap", "mainstay", configMap)
			got, err := config.Parse([]byte(configMap.Data["config.yaml"]))
			if err != nil {
				t.Fatal(err)
			}
			want := config.Default()
			want.Namespace = namespace
			want.Webhook.Service.Namespace = namespace
			tt.want(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyClusterRoleReplacesClusterAdmin(t *testing.T) {
	objects := render(t, map[string]any{"apply": map[string]any{"clusterRole": "shop-deployer"}})
	for _, object := range objects {
		if object.GetKind() != "ClusterRoleBinding" {
			continue
		}
		binding := &rbacv1.ClusterRoleBinding{}
		find(t, objects, "ClusterRoleBinding", object.GetName(), binding)
		if binding.RoleRef.Name == "cluster-admin" {
			t.Errorf("%s still binds cluster-admin", binding.Name)
		}
	}
	find(t, objects, "ClusterRoleBinding", "mainstay-apply-shop-deployer", &rbacv1.ClusterRoleBinding{})
}

func TestImageDigestWinsOverTag(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	tests := map[string]struct {
		image map[string]any
		want  string
	}{
		"the default tag is the version of the program": {map[string]any{"repository": "r/mainstay"}, "r/mainstay:0.1.0"},
		"a tag":                    {map[string]any{"repository": "r/mainstay", "tag": "v9"}, "r/mainstay:v9"},
		"a digest wins over a tag": {map[string]any{"repository": "r/mainstay", "tag": "v9", "digest": digest}, "r/mainstay@" + digest},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			deployment := &appsv1.Deployment{}
			find(t, render(t, map[string]any{"image": tt.image}), "Deployment", "mainstay", deployment)
			if got := deployment.Spec.Template.Spec.Containers[0].Image; got != tt.want {
				t.Errorf("image = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEveryDefinitionHasATemplate(t *testing.T) {
	templates, err := filepath.Glob("mainstay/templates/crds/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifests, err := os.ReadDir("../config/crds")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, manifest := range manifests {
		if filepath.Ext(manifest.Name()) == ".yaml" {
			want = append(want, manifest.Name())
		}
	}
	for _, template := range templates {
		got = append(got, filepath.Base(template))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("chart templates and config/crds: run make generate (-want +got):\n%s", diff)
	}
}
