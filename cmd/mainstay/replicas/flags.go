// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
)

// Flags say which cluster, and where in it Mainstay runs.
type Flags struct {
	Kubeconfig, Context, Namespace, System, URL string
}

// Add adds the flags to a command's.
func (f *Flags) Add(p *pflag.FlagSet) {
	p.StringVar(&f.Kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; kubectl's own where it is empty")
	p.StringVar(&f.Context, "context", "", "`NAME` of the kubeconfig's context to use")
	p.StringVarP(&f.Namespace, "namespace", "n", "", "`NAMESPACE` of the objects")
	p.StringVar(&f.System, "mainstay-namespace", "mainstay-system", "`NAMESPACE` in which Mainstay runs")
	p.StringVar(&f.URL, "replica-url", "", "`URL` of one replica to ask, such as https://mainstay.mainstay-system.svc:8443 from within the cluster")
}

// Cluster is a cluster that Mainstay runs in, as one user of it.
type Cluster struct {
	flags  *Flags
	config *rest.Config
	kube   kubernetes.Interface
	// Current is the namespace of the kubeconfig's context.
	Current  string
	progress io.Writer
}

// Open finds the cluster. What goes wrong with some of the replicas is said on
// progress.
func (f *Flags) Open(progress io.Writer) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.Context})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	current, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &Cluster{flags: f, config: config, kube: kube, Current: current, progress: progress}, nil
}

// Config reaches the API server.
func (c *Cluster) Config() *rest.Config { return c.config }

// replica is one that can be asked.
type replica struct {
	name   string
	base   string
	client *http.Client
	close  func()
}

// selector of the replicas' Pods.
const selector = "app.kubernetes.io/name=mainstay,app.kubernetes.io/component=controller"

// open connects to all replicas that can be reached, at least one.
func (c *Cluster) open(ctx context.Context) ([]*replica, error) {
	known, err := c.kube.CoreV1().ConfigMaps(c.flags.System).Get(ctx, reading.ConfigMap, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no config map %s in namespace %s: is Mainstay there (--mainstay-namespace), and does it run", reading.ConfigMap, c.flags.System)
	case apierrors.IsForbidden(err):
		return nil, refused(http.StatusForbidden, fmt.Sprintf("%v: ask for the Role mainstay-reader in namespace %s", err, c.flags.System))
	case err != nil:
		return nil, fmt.Errorf("find the replicas: %w", err)
	}
	url := c.flags.URL
	if url == "" {
		url = known.Data[reading.KeyURL]
	}
	if url != "" {
		client, err := c.client(known, "")
		if err != nil {
			return nil, err
		}
		return []*replica{{name: url, base: url, client: client, close: func() {}}}, nil
	}
	return c.forward(ctx, known)
}

// client speaks to a replica with the user's credentials, at address where one
// is given.
func (c *Cluster) client(known *corev1.ConfigMap, address string) (*http.Client, error) {
	config := rest.CopyConfig(c.config)
	config.Host = "https://" + known.Data[reading.KeyServerName]
	config.Insecure = false
	config.CAFile, config.CAData = "", []byte(known.Data[reading.KeyCA])
	config.ServerName = known.Data[reading.KeyServerName]
	config.Proxy, config.Timeout = nil, 0
	config.WrapTransport = nil
	if len(config.CAData) == 0 || config.ServerName == "" {
		return nil, fmt.Errorf("the config map %s has no %s or %s", known.Name, reading.KeyCA, reading.KeyServerName)
	}
	if address != "" {
		config.Dial = dialer(address)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("use the kubeconfig's credentials: %w", err)
	}
	return client, nil
}

// Refused is an answer that a replica gave instead of what was asked for.
type Refused struct {
	Code    int
	Message string
}

func (r *Refused) Error() string { return r.Message }

func refused(code int, message string) error { return &Refused{code, message} }

// IsAnswer tells whether an error is the answer to what was asked: it may not be
// seen, or there is no such thing.
func IsAnswer(err error) bool {
	r, ok := errors.AsType[*Refused](err)
	return ok && (r.Code == http.StatusForbidden || r.Code == http.StatusNotFound || r.Code == http.StatusUnauthorized)
}
