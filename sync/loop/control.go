// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// control has Reconcile called for changes of a GitSync's spec, annotations
// and deletion; the writes of its own status are not news.
func (l *Loop) control(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("gitsync").
		For(&v1alpha1.GitSync{}, builder.WithPredicates(predicate.Or(
			predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Complete(l)
	if err != nil {
		return fmt.Errorf("set up the gitsync controller: %w", err)
	}
	return nil
}
