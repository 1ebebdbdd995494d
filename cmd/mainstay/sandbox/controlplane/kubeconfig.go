// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func (c *Cluster) host() string { return fmt.Sprintf("https://127.0.0.1:%d", c.state.Ports.APIServer) }

// CAFile returns the file with the authority that the API server's certificate
// is signed by.
func (c *Cluster) CAFile() string { return c.key(caFile) }

// RESTConfig returns how to reach the API server as a user, one of Users. It
// sets no limit on requests, so that tests and benchmarks measure the server.
// An unknown name is a user without a token: the API server refuses it.
func (c *Cluster) RESTConfig(user string) *rest.Config {
	return &rest.Config{
		Host:            c.host(),
		BearerToken:     c.state.Tokens[user],
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile()},
		QPS:             -1,
	}
}

// WriteKubeconfig writes a kubeconfig with a context for each user; that of
// Admin is the current one. Nothing in it refers to other files.
func (c *Cluster) WriteKubeconfig(file string) error {
	config, err := c.Kubeconfig(nil)
	if err != nil {
		return err
	}
	return writeKubeconfig(config, file)
}

// Kubeconfig returns a kubeconfig with a context for each of tokens, which are
// users' names and bearer tokens. Nil: those of Users.
func (c *Cluster) Kubeconfig(tokens map[string]string) (*clientcmdapi.Config, error) {
	const cluster = "sandbox"
	authority, err := os.ReadFile(c.CAFile())
	if err != nil {
		return nil, fmt.Errorf("read the API server's authority: %w", err)
	}
	if tokens == nil {
		tokens = make(map[string]string)
		for _, user := range Users() {
			tokens[user] = c.state.Tokens[user]
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[cluster] = &clientcmdapi.Cluster{Server: c.host(), CertificateAuthorityData: authority}
	for user, token := range tokens {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token}
		config.Contexts[user] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user, Namespace: "default"}
		config.CurrentContext = user
	}
	if _, ok := tokens[Admin]; ok {
		config.CurrentContext = Admin
	}
	return config, nil
}

func (c *Cluster) internalKubeconfig() string {
	return filepath.Join(c.opts.Dir, keysDir, "controller-manager.kubeconfig")
}

func (c *Cluster) writeInternalKubeconfig() error {
	config, err := c.Kubeconfig(map[string]string{controllerManagerUser: c.state.Tokens[controllerManagerUser]})
	if err != nil {
		return err
	}
	return writeKubeconfig(config, c.internalKubeconfig())
}

// writeKubeconfig replaces the file whole, for its owner alone: it holds
// tokens.
func writeKubeconfig(config *clientcmdapi.Config, file string) error {
	raw, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	next := file + ".next"
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return os.Rename(next, file)
}
