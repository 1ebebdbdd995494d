// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
)

// AuditLog is the file of the API server's audit log in the folder of a control
// plane that was started with Options.Audit.
func AuditLog(dir string) string { return filepath.Join(dir, logsDir, "audit.log") }

// auditPolicy has an entry for each write once it was answered: who, what and
// the webhooks' annotations, but no content. What beats all the time is left out.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
  - level: None
    verbs: [get, list, watch]
  - level: None
    resources:
      - {group: coordination.k8s.io, resources: [leases]}
      - {group: events.k8s.io, resources: [events]}
      - {group: "", resources: [events]}
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: Metadata
`

func (c *Cluster) auditPolicy() string {
	return filepath.Join(c.opts.Dir, keysDir, "audit-policy.yaml")
}

func (c *Cluster) writeAuditPolicy() error {
	if !c.opts.Audit {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(c.opts.Dir, logsDir), 0o700); err != nil {
		return fmt.Errorf("make the folder of logs: %w", err)
	}
	if err := os.WriteFile(c.auditPolicy(), []byte(auditPolicy), 0o600); err != nil {
		return fmt.Errorf("write the audit policy: %w", err)
	}
	return nil
}

func (c *Cluster) auditArgs() []string {
	if !c.opts.Audit {
		return nil
	}
	return []string{
		"--audit-policy-file=" + c.auditPolicy(),
		"--audit-log-path=" + AuditLog(c.opts.Dir),
		"--audit-log-maxsize=20", "--audit-log-maxbackup=1",
	}
}
