// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
)

func dialer(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
}

// forward reaches every replica that runs, as kubectl port-forward does.
func (c *Cluster) forward(ctx context.Context, known *corev1.ConfigMap) ([]*replica, error) {
	pods, err := c.kube.CoreV1().Pods(c.flags.System).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list the replicas: %w", err)
	}
	var out []*replica
	var errs []error
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase != corev1.PodRunning || !pod.DeletionTimestamp.IsZero() {
			continue
		}
		r, err := c.forwardTo(ctx, known, pod)
		if err != nil {
			errs = append(errs, fmt.Errorf("replica %s: %w", pod.Name, err))
			continue
		}
		out = append(out, r)
	}
	switch {
	case len(out) == 0 && len(errs) > 0:
		return nil, errors.Join(errs...)
	case len(out) == 0:
		return nil, fmt.Errorf("no replica of Mainstay runs in namespace %s", c.flags.System)
	}
	for _, err := range errs {
		fmt.Fprintln(c.progress, "not asked:", err)
	}
	return out, nil
}

func (c *Cluster) forwardTo(ctx context.Context, known *corev1.ConfigMap, pod *corev1.Pod) (*replica, error) {
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig's credentials: %w", err)
	}
	url := c.kube.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	dial := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	if tunnel, err := portforward.NewSPDYOverWebsocketDialer(url, c.config); err == nil {
		dial = portforward.NewFallbackDialer(tunnel, dial, func(error) bool { return true })
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dial, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", reading.Port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	select {
	case err := <-failed:
		return nil, fmt.Errorf("forward: %w", err)
	case <-ctx.Done():
		close(stop)
		return nil, ctx.Err()
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		close(stop)
		return nil, fmt.Errorf("forward: %w", err)
	}
	client, err := c.client(known, fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
	if err != nil {
		close(stop)
		return nil, err
	}
	return &replica{
		name: pod.Name, base: "https://" + known.Data[reading.KeyServerName], client: client, close: func() { close(stop) },
	}, nil
}
