// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"path/filepath"
)

// The addresses that Services get. Nothing routes them here.
const (
	serviceRange   = "10.96.0.0/16"
	firstServiceIP = "10.96.0.1"
)

// command returns a component's program and arguments.
func (c *Cluster) command(name string) []string {
	switch name {
	case etcd:
		return append([]string{c.opts.Binaries.Etcd}, c.etcdArgs()...)
	case apiServer:
		return append([]string{c.opts.Binaries.APIServer}, c.apiServerArgs()...)
	}
	return append([]string{c.opts.Binaries.ControllerManager}, c.controllerManagerArgs()...)
}

func (c *Cluster) key(name string) string { return filepath.Join(c.opts.Dir, keysDir, name) }

func (c *Cluster) etcdURL() string { return fmt.Sprintf("https://127.0.0.1:%d", c.state.Ports.Etcd) }

func (c *Cluster) etcdArgs() []string {
	peer := fmt.Sprintf("https://127.0.0.1:%d", c.state.Ports.EtcdPeer)
	return []string{
		"--name=sandbox",
		"--data-dir=" + filepath.Join(c.opts.Dir, etcdDir),
		"--listen-client-urls=" + c.etcdURL(),
		"--advertise-client-urls=" + c.etcdURL(),
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=sandbox=" + peer,
		"--client-cert-auth",
		"--trusted-ca-file=" + c.key(caFile),
		"--cert-file=" + c.key(servingCert),
		"--key-file=" + c.key(servingKey),
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file=" + c.key(caFile),
		"--peer-cert-file=" + c.key(servingCert),
		"--peer-key-file=" + c.key(servingKey),
		"--log-level=warn",
		// A sandbox's data may be lost with the machine, not with a process.
		"--unsafe-no-fsync",
	}
}

func (c *Cluster) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=" + c.etcdURL(),
		"--etcd-cafile=" + c.key(caFile),
		"--etcd-certfile=" + c.key(servingCert),
		"--etcd-keyfile=" + c.key(servingKey),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.state.Ports.APIServer),
		"--tls-cert-file=" + c.key(servingCert),
		"--tls-private-key-file=" + c.key(servingKey),
		"--token-auth-file=" + c.key(tokensFile),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.key(accountsPublic),
		"--service-account-signing-key-file=" + c.key(accountsKey),
		"--service-cluster-ip-range=" + serviceRange,
		"--endpoint-reconciler-type=none",
		"--allow-privileged=true",
		"--profiling=false",
		// Tests and benchmarks ask more than a small cluster's users do.
		"--max-requests-inflight=2000",
		"--max-mutating-requests-inflight=2000",
	}
	args = append(args, c.auditArgs()...)
	if c.opts.WithoutControllerManager {
		// Nobody makes the namespaces' default accounts.
		args = append(args, "--disable-admission-plugins=ServiceAccount")
	}
	return args
}

func (c *Cluster) controllerManagerArgs() []string {
	return []string{
		"--kubeconfig=" + c.internalKubeconfig(),
		// The file's own address; repeated, so that a new one starts it again.
		"--master=" + c.host(),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", c.state.Ports.ControllerManager),
		"--tls-cert-file=" + c.key(servingCert),
		"--tls-private-key-file=" + c.key(servingKey),
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + c.key(accountsKey),
		"--root-ca-file=" + c.key(caFile),
		// Without nodes, clouds and volumes their controllers only make noise.
		"--controllers=*,-node-ipam-controller,-node-lifecycle-controller," +
			"-persistentvolume-binder-controller," +
			"-persistentvolume-attach-detach-controller,-persistentvolume-expander-controller," +
			"-certificatesigningrequest-signing-controller",
		"--horizontal-pod-autoscaler-sync-period=1s",
		"--kube-api-qps=200",
		"--kube-api-burst=400",
		"--profiling=false",
	}
}
