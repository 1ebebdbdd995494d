// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/sync/receive"
)

// minToken is the shortest secret of a push webhook.
const minToken = 16

// hearPushes has every replica listen for push webhooks, where they are
// configured.
func hearPushes(mgr ctrl.Manager, cfg *config.Config, c client.Client, kube kubernetes.Interface, report func(error)) error {
	push := cfg.Sync.PushWebhook
	if push == nil {
		return nil
	}
	receiver, err := receive.New(receive.Options{
		BindAddress: push.BindAddress, Client: c, Error: report,
		Secret: func(ctx context.Context) ([]byte, error) {
			secret, err := kube.CoreV1().Secrets(cfg.Namespace).Get(ctx, push.SecretName, metav1.GetOptions{})
			if err != nil {
				return nil, fmt.Errorf("get the push webhook's secret %s: %w", push.SecretName, err)
			}
			token := secret.Data["token"]
			if len(token) < minToken {
				return nil, fmt.Errorf("the push webhook's secret %s needs a key token of at least %d characters", push.SecretName, minToken)
			}
			return token, nil
		},
	})
	if err != nil {
		return err
	}
	if err := mgr.Add(receiver); err != nil {
		return fmt.Errorf("add the receiver of pushes: %w", err)
	}
	return nil
}
