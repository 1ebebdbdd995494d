// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/mainstay-gitops/mainstay/config"
)

// Payload is what a Webhook receiver is sent, as JSON.
type Payload struct {
	Version  string          `json:"version"` // v1
	Cluster  string          `json:"cluster,omitempty"`
	GitSync  string          `json:"gitSync,omitempty"` // namespace/name
	Actor    string          `json:"actor,omitempty"`
	Severity config.Severity `json:"severity"`
	Title    string          `json:"title"`
	Text     string          `json:"text"`
	Notices  []PayloadNotice `json:"notices"`
	// More is the number of notices that are left out.
	More int `json:"more,omitempty"`
}

// PayloadNotice is one notice of a Payload.
type PayloadNotice struct {
	Time     time.Time         `json:"time"`
	Kind     string            `json:"kind"`
	Severity config.Severity   `json:"severity"`
	Text     string            `json:"text"`
	Count    int               `json:"count"`
	Fields   map[string]string `json:"fields,omitempty"`
}

func newPayload(m *Message) Payload {
	p := Payload{
		Version: "v1", Cluster: m.Cluster, GitSync: m.GitSync, Actor: m.Actor, Severity: m.Severity,
		Title: m.Title(), Text: m.Text(), More: m.More,
	}
	for _, line := range m.Lines {
		p.Notices = append(p.Notices, PayloadNotice{
			Time: line.Time.UTC(), Kind: line.Kind, Severity: line.Severity, Text: line.Text, Count: line.Count, Fields: line.Fields,
		})
	}
	return p
}

// newCard is a message for a workflow of Teams, as an adaptive card.
func newCard(m *Message) any {
	block := func(text, weight string) map[string]any {
		return map[string]any{"type": "TextBlock", "text": text, "wrap": true, "weight": weight}
	}
	return map[string]any{
		"type": "message",
		"attachments": []any{map[string]any{
			"contentType": "application/vnd.microsoft.card.adaptive",
			"content": map[string]any{
				"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
				"body": []any{block(m.Title(), "Bolder"), block(m.Text(), "Default")},
			},
		}},
	}
}

// post sends JSON. Redirects are not followed: they would carry the message to
// where nobody said it may go.
func (a *address) post(ctx context.Context, target string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("the address of the receiver: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	transport, err := a.transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	defer response.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(response.Body, 500))
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("post: %s: %s", response.Status, bytes.TrimSpace(answer))
	}
	return nil
}

func (a *address) transport() (*http.Transport, error) {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if len(a.ca) == 0 {
		return t, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(a.ca) {
		return nil, errors.New("ca.crt of the receiver's Secret holds no certificate")
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}
