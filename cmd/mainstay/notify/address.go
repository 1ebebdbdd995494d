// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/mainstay-gitops/mainstay/config"
)

// Keys of the Secret of a receiver.
const (
	keyURL   = "url"
	keyToken = "token"
	keyCA    = "ca.crt"
)

// address is a receiver as its Secret describes it now.
type address struct {
	receiver config.Receiver
	url      string
	token    string
	ca       []byte
}

func newAddress(r config.Route, secret map[string][]byte) (*address, error) {
	key := cmp.Or(r.SecretRef.Key, keyURL)
	value := strings.TrimSpace(string(secret[key]))
	if value == "" {
		return nil, fmt.Errorf("secret %s has no key %s: it has to hold the address of the %s receiver", r.SecretRef.Name, key, r.Type)
	}
	return &address{receiver: r.Type, url: value, token: strings.TrimSpace(string(secret[keyToken])), ca: secret[keyCA]}, nil
}

// send makes one attempt.
func (a *address) send(ctx context.Context, m *Message) error {
	switch a.receiver {
	case config.ReceiverWebhook:
		return a.post(ctx, a.url, newPayload(m))
	case config.ReceiverAlertmanager:
		return a.post(ctx, strings.TrimSuffix(a.url, "/")+"/api/v2/alerts", newAlerts(m))
	case config.ReceiverTeams:
		if !strings.Contains(a.url, ".webhook.office.com/") {
			return a.post(ctx, a.url, newCard(m))
		}
	case config.ReceiverSlack, config.ReceiverDiscord, config.ReceiverEmail, config.ReceiverPagerDuty:
	}
	return a.shout(ctx, m)
}

// conceal takes the address, and what in it is secret, out of an error.
func (a *address) conceal(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, secret := range a.secrets() {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return errors.New(text)
}

// secrets are the parts of the address that nobody may read, the longest first.
func (a *address) secrets() []string {
	parts := []string{a.url, a.token}
	if u, err := url.Parse(a.url); err == nil {
		parts = append(parts, u.User.String(), u.RequestURI(), u.Path)
		if password, ok := u.User.Password(); ok {
			parts = append(parts, password)
		}
		parts = append(parts, u.User.Username())
		parts = append(parts, strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' })...)
		for _, values := range u.Query() {
			parts = append(parts, values...)
		}
	}
	// What is shorter than this is no secret, and part of other words.
	parts = slices.DeleteFunc(parts, func(s string) bool { return len(s) < 6 })
	slices.SortFunc(parts, func(x, y string) int { return len(y) - len(x) })
	return slices.Compact(parts)
}
