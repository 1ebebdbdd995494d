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

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// Reasons why a fetch did not succeed, as they appear in conditions.
const (
	ReasonAuthFailed         = "AuthFailed"
	ReasonRepositoryNotFound = "RepositoryNotFound"
	ReasonRefNotFound        = "RefNotFound"
	ReasonUnreachable        = "Unreachable"
	ReasonTLSFailed          = "TLSFailed"
	ReasonFetchFailed        = "FetchFailed"
)

// maxDetail is how much of a server's own words goes into a message.
const maxDetail = 300

// failure is an error with a reason and a sentence for people.
type failure struct {
	reason  string
	message string
	cause   error
}

func (f *failure) Error() string { return f.message }

func (f *failure) Unwrap() error { return f.cause }

func fail(reason string, cause error, format string, args ...any) error {
	return &failure{reason: reason, message: fmt.Sprintf(format, args...), cause: cause}
}

// Reason is the CamelCase reason of an error that Fetch returned: one of the
// Reason constants, ReasonFetchFailed where nothing more is known.
func Reason(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return ReasonFetchFailed
}

// explain gives err a reason, names the repository, and takes out whatever
// credential a server or a library may have put in.
func explain(err error, rawURL string, auth Auth) error {
	f := &failure{}
	if !errors.As(err, &f) {
		f = classify(err)
	}
	message := "fetch " + redact(rawURL) + ": " + f.message
	for _, secret := range []string{auth.Password, auth.BearerToken, url.PathEscape(auth.Password), url.QueryEscape(auth.Password)} {
		// Something as short would take holes into every message.
		if len(secret) > 3 {
			message = strings.ReplaceAll(message, secret, "***")
		}
	}
	return &failure{reason: f.reason, message: message, cause: f.cause}
}

func redact(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "the repository"
	}
	u.User = nil
	return u.String()
}

func classify(err error) *failure {
	// go-git's two wrappers do not unwrap.
	if unexpected, ok := errors.AsType[*plumbing.UnexpectedError](err); ok {
		return classify(unexpected.Err)
	}
	if permanent, ok := errors.AsType[*plumbing.PermanentError](err); ok {
		return classify(permanent.Err)
	}
	f := &failure{reason: ReasonFetchFailed, cause: err}
	var status *githttp.Err
	switch {
	case errors.Is(err, context.Canceled):
		f.message = "interrupted"
	case errors.Is(err, context.DeadlineExceeded):
		f.reason, f.message = ReasonUnreachable, "no answer in time: check that the server can be reached from the cluster, or raise spec.timeout"
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		f.reason, f.message = ReasonAuthFailed, "the server refused the credentials, or wants some: check the Secret named in spec.source.secretRef (some servers answer so for a repository that does not exist)"
	case errors.Is(err, transport.ErrRepositoryNotFound):
		f.reason, f.message = ReasonRepositoryNotFound, "there is no such repository: check spec.source.url (some servers answer so when the credentials do not suffice)"
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		f.reason, f.message = ReasonRefNotFound, "the repository is empty: push a first commit"
	case isTLS(err):
		f.reason, f.message = ReasonTLSFailed, "the server's certificate is not trusted: put the certificate of its authority into the key ca.crt of the Secret named in spec.source.secretRef: "+detail(err)
	case errors.As(err, &status) && status.StatusCode() >= http.StatusInternalServerError:
		f.reason, f.message = ReasonUnreachable, fmt.Sprintf("the server answers with HTTP status %d: it will be asked again", status.StatusCode())
	case isNetwork(err):
		f.reason, f.message = ReasonUnreachable, "the server cannot be reached: check the host name, and that the cluster's network lets Mainstay through: "+detail(err)
	default:
		f.message = detail(err)
	}
	return f
}

func isTLS(err error) bool {
	var verification *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &unknown) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &record)
}

func isNetwork(err error) bool {
	var network net.Error
	var request *url.Error
	return errors.As(err, &network) || errors.As(err, &request)
}

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
