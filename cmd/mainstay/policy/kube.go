// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// kube are kubectl's own flags for the cluster.
type kube struct {
	kubeconfig, context string
}

func (k *kube) flags(p *pflag.FlagSet) {
	p.StringVar(&k.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; kubectl's own where it is empty")
	p.StringVar(&k.context, "context", "", "`NAME` of the kubeconfig's context to use")
}

// config of the cluster, and the namespace of the context.
func (k *kube) config() (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = k.kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: k.context})
	c, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("find the cluster: %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	return c, namespace, nil
}
