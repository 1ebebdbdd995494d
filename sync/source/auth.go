// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Auth holds the credentials for one repository; all fields are optional. A
// GitHubApp is used rather than a BearerToken, and that rather than Username
// and Password.
type Auth struct {
	// Username and Password for https. With SSH, Password opens Identity.
	Username    string
	Password    string
	BearerToken string
	// CA holds certificates in PEM that are trusted beside the system's.
	CA []byte
	// Certificate and Key in PEM are shown to an https server.
	Certificate, Key []byte
	// Proxy is the URL of the proxy for https, credentials included; empty for
	// that of the environment.
	Proxy string
	// Identity is a private key for SSH, KnownHosts the keys of the hosts.
	Identity, KnownHosts []byte
	// GitHubApp gets tokens as an installed app.
	GitHubApp GitHubApp
}

// GitHubApp is an app that is installed where the repository is.
type GitHubApp struct {
	ID, InstallationID string
	// PrivateKey in PEM.
	PrivateKey []byte
	// BaseURL of the API; empty for https://api.github.com.
	BaseURL string
}

// AuthFromSecret reads the keys of a Secret: username, password, bearerToken,
// ca.crt, tls.crt, tls.key, proxy, identity, known_hosts, githubAppID,
// githubAppInstallationID, githubAppPrivateKey and githubAppBaseURL.
func AuthFromSecret(data map[string][]byte) Auth {
	text := func(key string) string { return strings.TrimSpace(string(data[key])) }
	return Auth{
		Username: string(data["username"]), Password: string(data["password"]),
		BearerToken: text("bearerToken"),
		CA:          data["ca.crt"], Certificate: data["tls.crt"], Key: data["tls.key"], Proxy: text("proxy"),
		Identity: data["identity"], KnownHosts: data["known_hosts"],
		GitHubApp: GitHubApp{
			ID: text("githubAppID"), InstallationID: text("githubAppInstallationID"),
			PrivateKey: data["githubAppPrivateKey"], BaseURL: text("githubAppBaseURL"),
		},
	}
}

// parts are all fields, in one order.
func (a *Auth) parts() []string {
	return []string{
		a.Username, a.Password, a.BearerToken, string(a.CA), string(a.Certificate), string(a.Key), a.Proxy,
		string(a.Identity), string(a.KnownHosts),
		a.GitHubApp.ID, a.GitHubApp.InstallationID, string(a.GitHubApp.PrivateKey), a.GitHubApp.BaseURL,
	}
}

// secrets are the words that no message may have.
func (a *Auth) secrets() []string {
	words := []string{a.Password, a.BearerToken, url.PathEscape(a.Password), url.QueryEscape(a.Password)}
	if proxy, err := url.Parse(a.Proxy); err == nil {
		if password, ok := proxy.User.Password(); ok {
			words = append(words, password, url.PathEscape(password))
		}
	} else {
		words = append(words, a.Proxy)
	}
	// Something as short would take holes into every message; the longest go
	// first, since one may hold another.
	words = slices.DeleteFunc(words, func(w string) bool { return len(w) <= 3 })
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) })
	return words
}

const checkSecret = "check the Secret named in spec.source.secretRef"

// roots are the system's authorities and the Secret's; nil for the system's.
func (a *Auth) roots() (*x509.CertPool, error) {
	if len(a.CA) == 0 {
		return nil, nil //nolint:nilnil // The zero value of tls.Config.
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(a.CA) {
		return nil, fail(ReasonTLSFailed, nil, "ca.crt holds no certificate in PEM: "+checkSecret)
	}
	return pool, nil
}

// certificate to show to the server, if any.
func (a *Auth) certificate() (*tls.Certificate, error) {
	if len(a.Certificate) == 0 && len(a.Key) == 0 {
		return nil, nil //nolint:nilnil // There is none.
	}
	if len(a.Certificate) == 0 || len(a.Key) == 0 {
		return nil, fail(ReasonTLSFailed, nil, "a client certificate needs both tls.crt and tls.key: "+checkSecret)
	}
	pair, err := tls.X509KeyPair(a.Certificate, a.Key)
	if err != nil {
		return nil, fail(ReasonTLSFailed, err, "tls.crt and tls.key are no pair in PEM: "+checkSecret)
	}
	return &pair, nil
}

// proxy to go through, if one is named.
func (a *Auth) proxy() (*url.URL, error) {
	if a.Proxy == "" {
		return nil, nil //nolint:nilnil // There is none.
	}
	u, err := url.Parse(a.Proxy)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fail(ReasonUnreachable, nil, "proxy is no URL: write http://proxy.example.org:3128; "+checkSecret)
	}
	return u, nil
}

// signer is the SSH key, opened.
func (a *Auth) signer() (ssh.Signer, error) {
	if len(a.Identity) == 0 {
		return nil, fail(ReasonAuthFailed, nil, "ssh needs a key: put a private key into the key identity of the Secret named in spec.source.secretRef, and the host's line into known_hosts")
	}
	signer, err := ssh.ParsePrivateKey(a.Identity)
	if missing := (*ssh.PassphraseMissingError)(nil); asError(err, &missing) {
		if a.Password == "" {
			return nil, fail(ReasonAuthFailed, nil, "identity is encrypted: put its passphrase into the key password of the Secret named in spec.source.secretRef")
		}
		signer, err = ssh.ParsePrivateKeyWithPassphrase(a.Identity, []byte(a.Password))
	}
	if err != nil {
		// The parser's words may be of the key.
		return nil, fail(ReasonAuthFailed, nil, "identity is no private key that can be opened: "+checkSecret)
	}
	return signer, nil
}

// scanLine says how to find the keys of a host.
func scanLine(host, port string) string {
	if port == "" || port == "22" {
		return fmt.Sprintf("ssh-keyscan %s", host)
	}
	return fmt.Sprintf("ssh-keyscan -p %s %s", port, host)
}
