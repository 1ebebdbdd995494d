// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

// defaultGitHubAPI is where apps get their tokens.
const defaultGitHubAPI = "https://api.github.com"

// appTokens gets and keeps an installation's token: GitHub gives one out for
// an hour, to whoever can sign in the app's name.
type appTokens struct {
	client *http.Client
	url    string
	id     string
	key    *rsa.PrivateKey

	// busy holds a token while somebody asks for one.
	mu    sync.Mutex
	token string
	ends  time.Time
}

var digits = regexp.MustCompile(`^[0-9]+$`)

func newAppTokens(app GitHubApp, client *http.Client) (*appTokens, error) {
	base := app.BaseURL
	if base == "" {
		base = defaultGitHubAPI
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fail(ReasonAuthFailed, nil, "githubAppBaseURL is no https URL: write https://github.example.org/api/v3; "+checkSecret)
	}
	if app.ID == "" || !digits.MatchString(app.InstallationID) || len(app.PrivateKey) == 0 {
		return nil, fail(ReasonAuthFailed, nil, "a GitHub App needs githubAppID, githubAppInstallationID (a number) and githubAppPrivateKey: "+checkSecret)
	}
	key, err := rsaKey(app.PrivateKey)
	if err != nil {
		return nil, fail(ReasonAuthFailed, err, "githubAppPrivateKey is no RSA key in PEM: "+checkSecret)
	}
	return &appTokens{
		client: client, id: app.ID, key: key,
		url: u.JoinPath("app", "installations", app.InstallationID, "access_tokens").String(),
	}, nil
}

func rsaKey(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("no key")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a %T", parsed)
	}
	return key, nil
}

// authorize adds the token to a request for the git server.
func (a *appTokens) authorize(ctx context.Context, req *http.Request) error {
	token, err := a.get(ctx)
	if err != nil {
		return err
	}
	req.SetBasicAuth("x-access-token", token)
	return nil
}

// earlier is how long before its end a token is given up.
const earlier = 2 * time.Minute

func (a *appTokens) get(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.token != "" && now.Before(a.ends.Add(-earlier)) {
		return a.token, nil
	}
	token, ends, err := a.ask(ctx, now)
	if err != nil {
		return "", err
	}
	a.token, a.ends = token, ends
	return token, nil
}

func (a *appTokens) ask(ctx context.Context, now time.Time) (string, time.Time, error) {
	word, err := a.jwt(now)
	if err != nil {
		return "", now, fmt.Errorf("sign in the app's name: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, http.NoBody)
	if err != nil {
		return "", now, err
	}
	req.Header.Set("Authorization", "Bearer "+word)
	req.Header.Set("Accept", "application/vnd.github+json")
	res, err := a.client.Do(req)
	if err != nil {
		return "", now, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		status := wire.StatusOf(res)
		if status.Limited || status.Code >= http.StatusInternalServerError {
			return "", now, status
		}
		return "", now, fail(ReasonAuthFailed, status, "GitHub gives the app no token (HTTP status %d): check githubAppID, githubAppInstallationID and githubAppPrivateKey of the Secret named in spec.source.secretRef, and that the app is installed", status.Code)
	}
	var answer struct {
		Token     string    `json:"token"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&answer); err != nil || answer.Token == "" {
		return "", now, fail(ReasonAuthFailed, nil, "GitHub's answer holds no token: check githubAppBaseURL of the Secret named in spec.source.secretRef")
	}
	return answer.Token, answer.ExpiresAt, nil
}

// jwt says that the app asks: signed, and good for some minutes.
func (a *appTokens) jwt(now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{
		// A minute earlier, for clocks that differ.
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(9 * time.Minute).Unix(), "iss": a.id,
	})
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + encode(signature), nil
}

// refuseRedirect keeps the app's word from other hosts.
func refuseRedirect(req *http.Request, _ []*http.Request) error {
	return &wire.RedirectError{To: req.URL.Scheme + "://" + req.URL.Host}
}
