// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/charts"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// The names that the chart and the sandbox give.
const (
	namespace     = "mainstay-system"
	accountName   = "mainstay"
	syncName      = "shop"
	configuration = "mainstay"
)

// install brings the API server to where the controller can start. It is
// called while no controller runs.
func install(ctx context.Context, config *rest.Config, s *State) error {
	if err := removeConfiguration(ctx, config); err != nil {
		return err
	}
	// All of the chart but the program, which runs beside the cluster here.
	rendered, err := charts.Render(charts.Options{
		Namespace: namespace,
		Values:    map[string]any{"controller": map[string]any{"enabled": false}},
	})
	if err != nil {
		return err
	}
	objects := []*unstructured.Unstructured{{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace},
	}}, controlplane.MayDoEverything()}
	if err := controlplane.Install(ctx, config, append(objects, rendered...)); err != nil {
		return err
	}
	return makeSync(ctx, config, s)
}

// removeConfiguration removes the webhook configurations of the last run:
// nothing answers their calls now, so that they would refuse the installation.
// The controller writes them again.
func removeConfiguration(ctx context.Context, config *rest.Config) error {
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	api := c.AdmissionregistrationV1()
	for _, remove := range []func(context.Context, string, metav1.DeleteOptions) error{
		api.MutatingWebhookConfigurations().Delete, api.ValidatingWebhookConfigurations().Delete,
	} {
		if err := remove(ctx, configuration, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove a webhook configuration of the last run: %w", err)
		}
	}
	return nil
}

func newClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NoWarnings{} // Nobody reads them here.
	return client.New(config, client.Options{Scheme: scheme})
}

// makeSync makes the GitSync, unless it is there: its user may have changed
// it. What the last run's controller said of it is forgotten, so that only a
// new word counts.
func makeSync(ctx context.Context, config *rest.Config, s *State) error {
	c, err := newClient(config)
	if err != nil {
		return err
	}
	sync := theSync(s)
	err = c.Create(ctx, sync)
	if err == nil {
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make GitSync %s: %w", syncName, err)
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(sync), sync); err != nil {
		return fmt.Errorf("read GitSync %s: %w", syncName, err)
	}
	for _, condition := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionEnforcing} {
		meta.SetStatusCondition(&sync.Status.Conditions, metav1.Condition{
			Type: condition, Status: metav1.ConditionUnknown, Reason: "Starting",
			Message: "the controller is starting", ObservedGeneration: sync.Generation,
		})
	}
	if err := c.Status().Update(ctx, sync); err != nil {
		return fmt.Errorf("reset GitSync %s: %w", syncName, err)
	}
	return nil
}

func theSync(s *State) *v1alpha1.GitSync {
	return &v1alpha1.GitSync{
		ObjectMeta: metav1.ObjectMeta{Name: syncName, Namespace: namespace, Labels: map[string]string{"team": "shop"}},
		Spec: v1alpha1.GitSyncSpec{
			Source: v1alpha1.Source{
				URL:  fileURL(s.Repository),
				Ref:  v1alpha1.Ref{Branch: branch},
				Path: ".",
			},
			Interval: &metav1.Duration{Duration: time.Second},
			// There is no node, so that no pod ever runs.
			Health:      v1alpha1.HealthIgnore,
			Enforcement: v1alpha1.Enforcement{Mode: v1alpha1.ModeEnforce},
			Policies:    v1alpha1.Policies{Paths: []string{"policies"}},
			Contact:     "#shop-oncall",
		},
	}
}
