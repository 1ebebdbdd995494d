// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/url"
	"strings"

	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/slack"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/teams"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/email/smtp"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/pagerduty"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"github.com/mainstay-gitops/mainstay/config"
)

// shout sends by Shoutrrr, which knows nothing of contexts: its services bound
// each of their steps, so an attempt that is no longer waited for ends, too.
func (a *address) shout(ctx context.Context, m *Message) error {
	service, params, err := a.service(m)
	if err != nil {
		return err
	}
	text := a.text(m)
	done := make(chan error, 1)
	go func() { done <- service.Send(text, &params) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("send: %w", ctx.Err())
	}
}

// text is what the receiver shows. A name or a reason in it may be anybody's: it
// calls nobody and makes no link.
func (a *address) text(m *Message) string {
	switch a.receiver {
	case config.ReceiverSlack:
		return harmlessInSlack.Replace(m.Text())
	case config.ReceiverDiscord:
		return harmlessInDiscord.Replace(m.Text())
	case config.ReceiverPagerDuty:
		return m.Title() // the text is among the details
	case config.ReceiverTeams, config.ReceiverEmail, config.ReceiverWebhook, config.ReceiverAlertmanager:
	}
	return m.Text()
}

var (
	harmlessInSlack   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	harmlessInDiscord = strings.NewReplacer("@", "@\u200b", "<", "<\u200b")
)

// service is the service of Shoutrrr for the receiver, and what it wants to know
// beside the text.
func (a *address) service(m *Message) (types.Service, types.Params, error) {
	target, err := a.forShoutrrr()
	if err != nil {
		return nil, nil, err
	}
	params := types.Params{"title": m.Title()}
	if a.receiver == config.ReceiverSlack {
		params["title"] = harmlessInSlack.Replace(m.Title())
	}
	var service types.Service
	switch a.receiver {
	case config.ReceiverSlack:
		service = &slack.Service{}
	case config.ReceiverTeams:
		service = &teams.Service{}
	case config.ReceiverDiscord:
		service = &discord.Service{}
	case config.ReceiverEmail:
		service, params = &smtp.Service{}, types.Params{"subject": m.Title()}
	case config.ReceiverPagerDuty:
		details, err := json.Marshal(newPayload(m))
		if err != nil {
			return nil, nil, fmt.Errorf("encode: %w", err)
		}
		service = &pagerduty.Service{}
		params = types.Params{
			"severity": string(m.Severity), "source": nonEmpty(m.Cluster, "mainstay"), "client": "mainstay", "details": string(details),
			// Messages about the same become one incident.
			"dedup_key": strings.Join([]string{"mainstay", m.Cluster, m.GitSync, m.Actor, m.Lines[0].Kind}, "/"),
		}
	case config.ReceiverWebhook, config.ReceiverAlertmanager:
		return nil, nil, fmt.Errorf("no service of Shoutrrr for %s", a.receiver)
	default:
		return nil, nil, fmt.Errorf("unknown receiver %q", a.receiver)
	}
	if err := service.Initialize(target, log.New(io.Discard, "", 0)); err != nil {
		return nil, nil, fmt.Errorf("the address of the %s receiver: %w", a.receiver, err)
	}
	return service, params, nil
}

// forShoutrrr turns the address that the service shows its users into one of
// Shoutrrr's; those are taken as they are, too.
func (a *address) forShoutrrr() (*url.URL, error) {
	given := a.url
	switch a.receiver {
	case config.ReceiverSlack:
		if token, ok := strings.CutPrefix(given, "https://hooks.slack.com/services/"); ok {
			given = "slack://hook:" + strings.ReplaceAll(token, "/", "-") + "@webhook"
		}
	case config.ReceiverTeams:
		if u, err := url.Parse(given); err == nil && u.Scheme == "https" {
			return new(teams.Service).GetConfigURLFromCustom(u)
		}
	case config.ReceiverDiscord:
		for _, host := range []string{"https://discord.com/api/webhooks/", "https://discordapp.com/api/webhooks/"} {
			if path, ok := strings.CutPrefix(given, host); ok {
				id, token, _ := strings.Cut(path, "/")
				given = "discord://" + token + "@" + id
			}
		}
	case config.ReceiverPagerDuty:
		if !strings.Contains(given, "://") {
			given = "pagerduty://events.pagerduty.com/" + given
		}
	case config.ReceiverEmail, config.ReceiverWebhook, config.ReceiverAlertmanager:
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme == "" || u.Host == "" {
		// The parser's error would show the address.
		return nil, errors.New("the address of the " + string(a.receiver) + " receiver is no URL")
	}
	return u, nil
}

func nonEmpty(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
