// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

// Reasons why a fetch did not succeed, as they appear in conditions.
const (
	ReasonAuthFailed         = "AuthFailed"
	ReasonHostKeyFailed      = "HostKeyFailed"
	ReasonRepositoryNotFound = "RepositoryNotFound"
	ReasonRefNotFound        = "RefNotFound"
	ReasonPathNotFound       = "PathNotFound"
	ReasonUnreachable        = "Unreachable"
	ReasonTLSFailed          = "TLSFailed"
	ReasonRateLimited        = "RateLimited"
	ReasonFetchFailed        = "FetchFailed"
)

// maxDetail is how much of a server's own words goes into a message.
const maxDetail = 300

// failure is an error with a reason and a sentence for people.
type failure struct {
	reason  string
	message string
	cause   error
	// after is how long the server is left alone.
	after time.Duration
}

func (f *failure) Error() string { return f.message }

func (f *failure) Unwrap() error { return f.cause }

func fail(reason string, cause error, format string, args ...any) error {
	return &failure{reason: reason, message: fmt.Sprintf(format, args...), cause: cause}
}

// Reason is the CamelCase reason of an error that this package returned: one of
// the Reason constants, ReasonFetchFailed where nothing more is known.
func Reason(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return ReasonFetchFailed
}

// RetryAfter is how long asking again would give the same error without asking
// the server; 0 where it would be asked.
func RetryAfter(err error) time.Duration {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.after
	}
	return 0
}

// explain gives err a reason, names the repository, and takes out whatever
// credential a server or a library may have put in.
func explain(err error, rawURL string, auth *Auth) *failure {
	f := &failure{}
	if !errors.As(err, &f) {
		f = classify(err)
	}
	message := "fetch " + redact(rawURL) + ": " + f.message
	for _, secret := range auth.secrets() {
		message = strings.ReplaceAll(message, secret, "***")
	}
	return &failure{reason: f.reason, message: message, cause: f.cause, after: f.after}
}

func redact(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "the repository"
	}
	if u.Scheme == "" {
		return "the repository" // the form of ssh: it is repeated, corrected, behind
	}
	if u.Scheme != "ssh" {
		u.User = nil
	} else if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	u.RawQuery, u.Fragment = "", ""
	return u.String()
}

// ofServer tells that an error is of the server as a whole, and not of one ref.
func ofServer(err error) bool {
	f := &failure{}
	if !errors.As(err, &f) {
		f = classify(err)
	}
	switch f.reason {
	case ReasonAuthFailed, ReasonHostKeyFailed, ReasonRepositoryNotFound, ReasonUnreachable, ReasonTLSFailed, ReasonRateLimited:
		return true
	}
	return false
}

func classify(err error) *failure {
	f := &failure{reason: ReasonFetchFailed, cause: err}
	var status *wire.StatusError
	var said *wire.ServerError
	var key *wire.HostKeyError
	var redirect *wire.RedirectError
	switch {
	case errors.Is(err, context.Canceled):
		f.message = "interrupted"
	case errors.As(err, &key):
		f.reason, f.message = ReasonHostKeyFailed, hostKey(key)
	case errors.Is(err, wire.ErrKnownHosts):
		f.reason, f.message = ReasonHostKeyFailed, detail(err)+"; "+checkSecret
	case errors.As(err, &redirect):
		f.message = "the server redirects to " + redirect.To + ", which is not followed: credentials stay with the host that they are for; write that address as spec.source.url if it is right"
	case errors.As(err, &status):
		f.reason, f.message = byStatus(status)
	case errors.Is(err, wire.ErrDenied):
		f.reason, f.message = ReasonAuthFailed, "the server refuses the key: give its public half access to the repository, and check identity in the Secret named in spec.source.secretRef, and the user in spec.source.url (git@ for most servers)"
	case errors.As(err, &said) && notThere(said.Text):
		f.reason, f.message = ReasonRepositoryNotFound, "there is no such repository: check spec.source.url (some servers answer so when the credentials do not suffice)"
	case errors.Is(err, wire.ErrNoVersion):
		f.reason, f.message = ReasonRepositoryNotFound, "what answers there is no git server: check spec.source.url; it is what `git clone` takes, and often ends in .git"
	case errors.Is(err, wire.ErrTooLarge):
		f.message = "the repository sends more than sync.maxFetchBytes of the configuration allows"
	case isTLS(err):
		f.reason, f.message = ReasonTLSFailed, byTLS(err)
	case errors.Is(err, context.DeadlineExceeded):
		f.reason, f.message = ReasonUnreachable, "no answer in time: check that the server can be reached from the cluster, or raise spec.timeout"
	case isNetwork(err):
		f.reason, f.message = ReasonUnreachable, "the server cannot be reached: check the host name, and that the cluster's network lets Mainstay through: "+detail(err)
	default:
		f.message = detail(err)
	}
	return f
}

// byStatus words an HTTP status.
func byStatus(status *wire.StatusError) (reason, message string) {
	switch {
	case status.Limited:
		after := ""
		if status.RetryAfter > 0 {
			after = fmt.Sprintf(", and wants to be left alone for %s", status.RetryAfter.Round(time.Second))
		}
		return ReasonRateLimited, "the server limits how often it is asked" + after + ": raise spec.interval, or configure a push webhook"
	case status.Code == http.StatusUnauthorized, status.Code == http.StatusForbidden:
		return ReasonAuthFailed, "the server refused the credentials, or wants some: check the Secret named in spec.source.secretRef (some servers answer so for a repository that does not exist)"
	case status.Code == http.StatusNotFound, status.Code == http.StatusGone:
		return ReasonRepositoryNotFound, "there is no such repository: check spec.source.url (some servers answer so when the credentials do not suffice)"
	case status.Code >= http.StatusInternalServerError, status.Code == http.StatusRequestTimeout:
		return ReasonUnreachable, fmt.Sprintf("the server answers with HTTP status %d: it will be asked again", status.Code)
	}
	return ReasonFetchFailed, fmt.Sprintf("the server answers with HTTP status %d: check spec.source.url", status.Code)
}

func hostKey(e *wire.HostKeyError) string {
	shown := "none of the types that known_hosts has"
	if e.Fingerprint != "" {
		shown = e.Type + " " + e.Fingerprint
	}
	compare := fmt.Sprintf("run `%s`, compare the fingerprints with those that the server's owner publishes, and put the lines into known_hosts of the Secret named in spec.source.secretRef", e.Scan)
	if e.Changed || e.Fingerprint == "" {
		return fmt.Sprintf("the host key of %s has changed (it shows %s): somebody may be in between; if the change is known, %s", e.Host, shown, compare)
	}
	return fmt.Sprintf("the host key of %s (%s) is not in known_hosts: %s", e.Host, shown, compare)
}

// notThere recognises how git and the known forges say it over SSH.
func notThere(text string) bool {
	text = strings.ToLower(text)
	for _, words := range []string{
		"repository not found", "repository does not exist", "does not appear to be a git repository", "no such repository",
		"project you were looking for could not be found", "could not find repository", "cannot find repository", "not found on",
	} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

func isTLS(err error) bool {
	var verification *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &verification) || errors.As(err, &unknown) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &record) || errors.As(err, &alert) ||
		strings.Contains(err.Error(), "remote error: tls: ")
}

// byTLS tells a certificate of the server from one of ours.
func byTLS(err error) string {
	if strings.Contains(err.Error(), "remote error: tls: ") {
		return "the server refuses the client certificate, or wants one: put it into the keys tls.crt and tls.key of the Secret named in spec.source.secretRef: " + detail(err)
	}
	return "the server's certificate is not trusted: put the certificate of its authority into the key ca.crt of the Secret named in spec.source.secretRef: " + detail(err)
}

func isNetwork(err error) bool {
	var network net.Error
	var request *url.Error
	return errors.As(err, &network) || errors.As(err, &request)
}

// asError is errors.As for use in an expression.
func asError[T error](err error, target *T) bool { return errors.As(err, target) }

// detail is the first line of an error that may repeat a page of HTML. The
// wrapper that repeats the request's URL is left out.
func detail(err error) string {
	if request, ok := errors.AsType[*url.Error](err); ok {
		err = request.Err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	if len(line) > maxDetail {
		line = strings.ToValidUTF8(line[:maxDetail], "") + "…"
	}
	return line
}
