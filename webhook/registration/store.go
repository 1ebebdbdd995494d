// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// configuration is a webhook configuration of either kind: a mutating webhook
// has all that a validating one has.
type configuration = admissionregistrationv1.MutatingWebhookConfiguration

// store reads and writes the configuration of one kind.
type store struct {
	kind string
	read func(context.Context) (*configuration, error)
	// create and update have the API server's own answer to a dry run where
	// dryRun has its value.
	create func(ctx context.Context, c *configuration, dryRun []string) error
	update func(ctx context.Context, c *configuration, dryRun []string) error
	remove func(context.Context, metav1.Preconditions) error
}

// get returns nil where there is none.
func (s *store) get(ctx context.Context) (*configuration, error) {
	c, err := s.read(ctx)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // none is no failure
	}
	return c, err
}

// write makes what is in the cluster what is wanted, others' additions kept.
func (s *store) write(ctx context.Context, want, have *configuration, dryRun ...string) error {
	if have != nil {
		return s.update(ctx, merged(want, have), dryRun)
	}
	fresh := want.DeepCopy()
	fresh.ResourceVersion, fresh.UID, fresh.ManagedFields = "", "", nil
	fresh.CreationTimestamp, fresh.Generation = metav1.Time{}, 0
	return s.create(ctx, fresh, dryRun)
}

func validatingStore(client kubernetes.Interface) *store {
	api := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	return &store{
		kind: "ValidatingWebhookConfiguration",
		read: func(ctx context.Context) (*configuration, error) {
			c, err := api.Get(ctx, Name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			return fromValidating(c), nil
		},
		create: func(ctx context.Context, c *configuration, dryRun []string) error {
			_, err := api.Create(ctx, toValidating(c), metav1.CreateOptions{FieldManager: v1alpha1.FieldManager, DryRun: dryRun})
			return err
		},
		update: func(ctx context.Context, c *configuration, dryRun []string) error {
			_, err := api.Update(ctx, toValidating(c), metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager, DryRun: dryRun})
			return err
		},
		remove: func(ctx context.Context, p metav1.Preconditions) error {
			return api.Delete(ctx, Name, metav1.DeleteOptions{Preconditions: &p})
		},
	}
}

func mutatingStore(client kubernetes.Interface) *store {
	api := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	return &store{
		kind: "MutatingWebhookConfiguration",
		read: func(ctx context.Context) (*configuration, error) { return api.Get(ctx, Name, metav1.GetOptions{}) },
		create: func(ctx context.Context, c *configuration, dryRun []string) error {
			_, err := api.Create(ctx, c, metav1.CreateOptions{FieldManager: v1alpha1.FieldManager, DryRun: dryRun})
			return err
		},
		update: func(ctx context.Context, c *configuration, dryRun []string) error {
			_, err := api.Update(ctx, c, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager, DryRun: dryRun})
			return err
		},
		remove: func(ctx context.Context, p metav1.Preconditions) error {
			return api.Delete(ctx, Name, metav1.DeleteOptions{Preconditions: &p})
		},
	}
}

func fromValidating(v *admissionregistrationv1.ValidatingWebhookConfiguration) *configuration {
	c := &configuration{ObjectMeta: v.ObjectMeta}
	for _, w := range v.Webhooks {
		c.Webhooks = append(c.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
			NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
			TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
		})
	}
	return c
}

func toValidating(c *configuration) *admissionregistrationv1.ValidatingWebhookConfiguration {
	v := &admissionregistrationv1.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: c.ObjectMeta,
	}
	for _, w := range c.Webhooks {
		v.Webhooks = append(v.Webhooks, admissionregistrationv1.ValidatingWebhook{
			Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
			NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
			TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
		})
	}
	return v
}
