// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/go-logr/logr"
)

// callers are those who are served: who shows a certificate for clients that an
// authority in a file has signed.
type callers struct {
	file  string
	names []string
	log   logr.Logger

	mu sync.Mutex
	// authorities are those in content, the last that could be used.
	content     []byte
	authorities *x509.CertPool
	// said is the last failure to read the file that was logged.
	said string
}

func newCallers(file string, names []string, log logr.Logger) (*callers, error) {
	c := &callers{file: file, names: names, log: log}
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("webhook.clientCAFile: %w", err)
	}
	return c, nil
}

// required is base, and serves callers only.
func (c *callers) required(base *tls.Config) *tls.Config {
	config := base.Clone()
	config.ClientAuth = tls.RequireAndVerifyClientCert
	// Whoever resumes a session is not verified again.
	config.SessionTicketsDisabled = true
	config.VerifyConnection = c.verify
	config.ClientCAs = c.present()
	outer := config.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := config.Clone()
		now.ClientCAs = c.present()
		return now, nil
	}
	return outer
}

// present returns the authorities that the file has now, or had when it could
// last be read: an authority that is being replaced must lock nobody out, and a
// file that is gone must not let anyone in.
func (c *callers) present() *x509.CertPool {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.read()
	switch {
	case err == nil:
		c.said = ""
	case err.Error() != c.said:
		c.said = err.Error()
		c.log.Error(err, "webhook.clientCAFile could not be read again; the authorities that it had stay")
	}
	return c.authorities
}

// read is called at each handshake: there are few, since API servers keep their
// connections.
func (c *callers) read() error {
	content, err := os.ReadFile(c.file)
	if err != nil {
		return err //nolint:wrapcheck // it names the step and the file
	}
	if c.authorities != nil && bytes.Equal(content, c.content) {
		return nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return fmt.Errorf("%s has no certificate in PEM", c.file)
	}
	c.content, c.authorities = content, pool
	return nil
}

// verify looks at the names of a client whose certificate was verified.
func (c *callers) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the client shows no certificate")
	}
	if len(c.names) == 0 {
		return nil
	}
	certificate := state.PeerCertificates[0]
	names := append([]string{certificate.Subject.CommonName}, certificate.DNSNames...)
	for _, uri := range certificate.URIs {
		names = append(names, uri.String())
	}
	for _, name := range names {
		if slices.Contains(c.names, name) {
			return nil
		}
	}
	return fmt.Errorf("the client is called %q, and webhook.clientNames has %q", names, c.names)
}
