// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sops

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// metadata is what SOPS writes under the key sops.
type metadata struct {
	Age                     []recipient `json:"age"`
	PGP                     []recipient `json:"pgp"`
	KMS                     []recipient `json:"kms"`
	GCP                     []recipient `json:"gcp_kms"`
	Azure                   []recipient `json:"azure_kv"`
	Vault                   []recipient `json:"hc_vault"`
	Huawei                  []recipient `json:"hckms"`
	KeyGroups               []metadata  `json:"key_groups"`
	ShamirThreshold         int         `json:"shamir_threshold"`
	LastModified            string      `json:"lastmodified"`
	MAC                     string      `json:"mac"`
	UnencryptedSuffix       string      `json:"unencrypted_suffix"`
	EncryptedSuffix         string      `json:"encrypted_suffix"`
	UnencryptedRegex        string      `json:"unencrypted_regex"`
	EncryptedRegex          string      `json:"encrypted_regex"`
	UnencryptedCommentRegex string      `json:"unencrypted_comment_regex"`
	EncryptedCommentRegex   string      `json:"encrypted_comment_regex"`
	MACOnlyEncrypted        bool        `json:"mac_only_encrypted"`

	unencrypted, encrypted *regexp.Regexp
}

// recipient is somebody whom the file's key is encrypted for.
type recipient struct {
	Enc         string `json:"enc"`
	Recipient   string `json:"recipient"`
	Fingerprint string `json:"fp"`
	ARN         string `json:"arn"`
	ResourceID  string `json:"resource_id"`
	VaultURL    string `json:"vault_url"`
	Address     string `json:"vault_address"`
	Name        string `json:"name"`
}

// parseMetadata reads what is under the key sops, and refuses what this package
// does not know how to honour.
func parseMetadata(text []byte) (*metadata, error) {
	m := &metadata{}
	if err := yaml.Unmarshal(text, m); err != nil {
		return nil, errors.New("its sops metadata can't be read")
	}
	if len(m.KeyGroups) == 1 && m.ShamirThreshold <= 1 {
		g := m.KeyGroups[0]
		m.Age, m.PGP, m.KMS, m.GCP, m.Azure, m.Vault = g.Age, g.PGP, g.KMS, g.GCP, g.Azure, g.Vault
		m.KeyGroups = nil
	}
	switch {
	case len(m.KeyGroups) > 0 || m.ShamirThreshold > 1:
		return nil, errors.New("its key is split between several groups, which is not supported: encrypt it with one group")
	case m.EncryptedCommentRegex != "" || m.UnencryptedCommentRegex != "":
		return nil, errors.New("encrypting by comments is not supported: use encrypted_regex")
	case m.MAC == "":
		return nil, errors.New("its sops metadata has no mac")
	}
	at, err := time.Parse(time.RFC3339, m.LastModified)
	if err != nil {
		return nil, errors.New("its sops metadata has no lastmodified")
	}
	m.LastModified = at.Format(time.RFC3339)
	for _, r := range []struct {
		text string
		into **regexp.Regexp
	}{{m.UnencryptedRegex, &m.unencrypted}, {m.EncryptedRegex, &m.encrypted}} {
		if r.text == "" {
			continue
		}
		if *r.into, err = regexp.Compile(r.text); err != nil {
			return nil, fmt.Errorf("its sops metadata has a regular expression that is none: %w", err)
		}
	}
	return m, nil
}

// covers tells whether the value at a path is encrypted, in the order in which
// SOPS asks.
func (m *metadata) covers(path []string) bool {
	some := func(is func(string) bool) bool {
		return slices.ContainsFunc(path, is)
	}
	encrypted := true
	if s := m.UnencryptedSuffix; s != "" && some(func(key string) bool { return strings.HasSuffix(key, s) }) {
		encrypted = false
	}
	if s := m.EncryptedSuffix; s != "" {
		encrypted = some(func(key string) bool { return strings.HasSuffix(key, s) })
	}
	if m.unencrypted != nil && some(m.unencrypted.MatchString) {
		encrypted = false
	}
	if m.encrypted != nil {
		encrypted = some(m.encrypted.MatchString)
	}
	return encrypted
}

// recipients names whom a file is encrypted for.
func (m *metadata) recipients() string {
	var names []string
	add := func(kind string, list []recipient) {
		for _, r := range list {
			for _, name := range []string{r.Recipient, r.Fingerprint, r.ARN, r.ResourceID, r.VaultURL, r.Address, r.Name} {
				if name != "" {
					names = append(names, kind+name)
					break
				}
			}
		}
	}
	add("", m.Age)
	add("PGP ", m.PGP)
	for _, list := range [][]recipient{m.KMS, m.GCP, m.Azure, m.Vault, m.Huawei} {
		add("the key service's ", list)
	}
	for i := range m.KeyGroups {
		names = append(names, m.KeyGroups[i].recipients())
	}
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// Recipients names whom a file is encrypted for, by what it has under the key
// sops.
func Recipients(under any) string {
	text, err := yaml.Marshal(under)
	if err != nil {
		return "nobody"
	}
	m := &metadata{}
	if err := yaml.Unmarshal(text, m); err != nil {
		return "nobody"
	}
	return m.recipients()
}
