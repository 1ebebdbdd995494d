// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

// bundle is where the certificate authority of the replicas comes from.
type bundle interface {
	Bundle() []byte
	Changed() <-chan struct{}
}

// decisionServer serves what a replica recorded, and tells people how to reach
// it.
type decisionServer struct {
	http   *http.Server
	listen string
	kube   kubernetes.Interface
	ca     bundle
	config *config.Config
	log    logr.Logger
}

func newDecisionServer(cfg *config.Config, handler http.Handler, tlsConfig *tls.Config, kube kubernetes.Interface, ca bundle, logger logr.Logger) *decisionServer {
	tlsConfig = tlsConfig.Clone()
	// Whether it is a user's is found out by request.
	tlsConfig.ClientAuth = tls.RequestClientCert
	return &decisionServer{
		http: &http.Server{
			Handler: handler, TLSConfig: tlsConfig, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
			ErrorLog: log.New(lines{logger}, "", 0),
		},
		listen: cfg.Decisions.BindAddress, kube: kube, ca: ca, config: cfg, log: logger,
	}
}

// NeedLeaderElection tells that every replica serves what it recorded.
func (s *decisionServer) NeedLeaderElection() bool { return false }

// Start serves until ctx ends. Who follows is cut off then.
func (s *decisionServer) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listen for readers of decisions: %w", err)
	}
	failed := make(chan error, 1)
	go func() { failed <- s.http.ServeTLS(listener, "", "") }()
	go s.publish(ctx)
	select {
	case err := <-failed:
		return fmt.Errorf("serve decisions: %w", err)
	case <-ctx.Done():
		return s.http.Close()
	}
}

// publish keeps the ConfigMap that says how to reach the replicas. Without it
// people only can't read decisions, so a failure is tried again later.
func (s *decisionServer) publish(ctx context.Context) {
	for {
		changed := s.ca.Changed()
		again := time.After(time.Hour)
		if err := s.write(ctx); err != nil && ctx.Err() == nil {
			s.log.Error(err, "trying again")
			again = time.After(10 * time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		}
	}
}

func (s *decisionServer) write(ctx context.Context) error {
	name := ""
	if names := dnsNames(s.config); len(names) > 0 {
		name = names[0]
	} else if addresses := ips(s.config); len(addresses) > 0 {
		name = addresses[0].String()
	}
	want := map[string]string{reading.KeyCA: string(s.ca.Bundle()), reading.KeyServerName: name}
	if s.config.Decisions.URL != "" {
		want[reading.KeyURL] = s.config.Decisions.URL
	}
	published := configMaps{s.kube, s.config.Namespace}
	return published.write(ctx, reading.ConfigMap, want)
}

type configMaps struct {
	kube      kubernetes.Interface
	namespace string
}

func (c configMaps) write(ctx context.Context, name string, data map[string]string) error {
	api := c.kube.CoreV1().ConfigMaps(c.namespace)
	known, err := api.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = api.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace, Labels: map[string]string{"app.kubernetes.io/name": "mainstay"}}, Data: data,
		}, metav1.CreateOptions{FieldManager: v1alpha1.FieldManager})
		if apierrors.IsAlreadyExists(err) {
			return nil // another replica was faster, with the same
		}
	case err == nil && !maps.Equal(known.Data, data):
		known.Data = data
		_, err = api.Update(ctx, known, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
		if apierrors.IsConflict(err) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("write config map %s/%s: %w", c.namespace, name, err)
	}
	return nil
}

// liveObject reads one object from the API server.
func liveObject(client dynamic.Interface) func(context.Context, schema.GroupVersionResource, string, string) ([]byte, error) {
	return func(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) ([]byte, error) {
		object, err := client.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", resource.GroupResource(), err)
		}
		raw, err := object.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", resource.GroupResource(), err)
		}
		return raw, nil
	}
}

// mayDo asks for any right.
func mayDo(kube kubernetes.Interface) func(context.Context, *policy.User, authorizationv1.ResourceAttributes) (bool, error) {
	return func(ctx context.Context, user *policy.User, what authorizationv1.ResourceAttributes) (bool, error) {
		return may(ctx, kube, user, what)
	}
}
