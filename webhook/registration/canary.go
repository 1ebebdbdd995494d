// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/webhook"
)

// Canary is the Inventory whose dry-run creation the webhook refuses with the
// nonce, if the configuration of that digest is in force.
func Canary(namespace, nonce, digest string) *v1alpha1.Inventory {
	return &v1alpha1.Inventory{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Inventory"},
		ObjectMeta: metav1.ObjectMeta{
			Name: webhook.CanaryName, Namespace: namespace,
			Annotations: map[string]string{webhook.CanaryAnnotation: nonce, ConfigurationAnnotation: digest},
		},
		Data: v1alpha1.InventoryData{Generation: 1, Head: "{}", Seal: "canary"},
	}
}

// prove sends a canary where one is due, and says when to look again.
func (r *Registration) prove(ctx context.Context, published, have *configuration) time.Duration {
	if active, reason, until := r.offState(); active {
		r.set(State{Off, fmt.Sprintf("mainstay-off is in force until %s: %s", until.UTC().Format(time.RFC3339), reason)})
		return min(probeInterval, max(until.Sub(r.options.Clock()), retryMin))
	}
	now := r.options.Clock()
	digest := digest(published)
	if r.inForce == digest && r.proven && now.Sub(r.probed) < probeInterval {
		r.reached(have)
		return probeInterval - now.Sub(r.probed)
	}
	r.probed = now
	if err := r.probe(ctx, digest); err != nil {
		r.metrics.probe.Set(0)
		r.inForce = ""
		mode := Ignore
		if r.proven {
			mode = Fail
		}
		r.set(State{mode, "the API server was not seen to reach the webhook: " + err.Error()})
		return r.backoff()
	}
	r.metrics.probe.Set(1)
	r.retry = 0
	r.inForce = digest
	if !r.proven && r.options.Leader() {
		r.proven, r.inForce = true, ""
		return 0 // and now the same again, failing closed
	}
	r.proven = true
	r.reached(have)
	return probeInterval
}

// reached says that all is well, unless someone fights about a configuration.
func (r *Registration) reached(have *configuration) {
	now := r.options.Clock()
	if r.validating.fought(now) || r.mutating.fought(now) {
		return
	}
	message := "the API server reaches the webhook"
	if have != nil {
		if keys := narrowed(have); keys != "" {
			message += "; someone keeps namespaces with these labels out of it: " + keys
		}
	}
	r.set(State{Fail, message})
}

// probe returns nil if the API server reaches the webhook by the configuration
// of that digest.
func (r *Registration) probe(ctx context.Context, digest string) error {
	nonce := rand.Text()
	body, err := json.Marshal(Canary(r.options.Namespace, nonce, digest))
	if err != nil {
		return fmt.Errorf("encode the canary: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err = r.options.Probe(ctx, body)
	switch {
	case err == nil:
		return errors.New("a canary was not refused")
	case strings.Contains(err.Error(), webhook.CanaryMessage(nonce)):
		return nil
	}
	return fmt.Errorf("send a canary: %w", err)
}

// send creates the canary through the API server, as a dry run.
func (r *Registration) send(ctx context.Context, canary []byte) error {
	return r.options.Client.Discovery().RESTClient().Post().
		AbsPath("/apis/"+v1alpha1.GroupVersion.String(), "namespaces", r.options.Namespace, "inventories").
		Param("dryRun", metav1.DryRunAll).
		Param("fieldManager", v1alpha1.FieldManager).
		SetHeader("Content-Type", "application/json").
		Body(canary).
		Do(ctx).
		Error()
}
