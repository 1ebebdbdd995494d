// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// HTTPOptions say how to reach a repository over HTTPS.
type HTTPOptions struct {
	// URL of the repository, without credentials. Required.
	URL *url.URL
	// Authorize adds credentials to a request for that host; nil adds none.
	Authorize func(ctx context.Context, req *http.Request) error
	// Roots verify the server; nil for the system's.
	Roots *x509.CertPool
	// Certificate is shown to the server, if any.
	Certificate *tls.Certificate
	// Proxy to go through; nil for that of the environment.
	Proxy *url.URL
	// MaxPack bounds the bytes of one pack. Required.
	MaxPack int64
}

// NewHTTP returns a Remote that is reached over HTTPS.
func NewHTTP(o HTTPOptions) *Remote {
	h := &overHTTP{o: o, base: o.URL}
	h.client = &http.Client{Transport: NewTransport(o.Roots, o.Certificate, o.Proxy), CheckRedirect: h.redirect}
	return &Remote{dial: h, maxPack: o.MaxPack}
}

// NewTransport returns a transport for requests to servers outside.
func NewTransport(roots *x509.CertPool, certificate *tls.Certificate, proxy *url.URL) *http.Transport {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	through := http.ProxyFromEnvironment
	if proxy != nil {
		through = http.ProxyURL(proxy)
	}
	return &http.Transport{
		Proxy:                  through,
		DialContext:            Dialer().DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    15 * time.Second,
		ResponseHeaderTimeout:  2 * time.Minute, // a server that counts objects says nothing meanwhile
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Dialer reaches git servers. It refuses link-local addresses: no git server
// has one, and clouds hand out a machine's credentials there.
func Dialer() *net.Dialer {
	return &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("split address %s: %w", address, err)
		}
		if ip := net.ParseIP(host); ip != nil && (ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast()) {
			return fmt.Errorf("%s is a link-local address, at which no repository is looked for", host)
		}
		return nil
	}}
}

// overHTTP is a server that forgets after each request.
type overHTTP struct {
	o      HTTPOptions
	client *http.Client

	mu sync.Mutex
	// base is where the repository is, known is how a server of version 2 has
	// introduced itself: it is not asked again until it changes its mind.
	base  *url.URL
	known *hello
}

// discovery marks the one request that may be redirected.
type discovery struct{}

// redirect follows a server that says where else on the same host the
// repository is. Another host would get the credentials of this one, or could
// be one that only this process can reach.
func (h *overHTTP) redirect(req *http.Request, via []*http.Request) error {
	if req.Context().Value(discovery{}) != nil && len(via) < 5 && req.URL.Scheme == "https" && req.URL.Host == h.o.URL.Host {
		return nil
	}
	to := *req.URL
	to.User, to.RawQuery, to.Fragment = nil, "", ""
	to.Path = strings.TrimSuffix(to.Path, infoRefs)
	return &RedirectError{To: to.String()}
}

const infoRefs = "/info/refs"

func (h *overHTTP) connect(ctx context.Context) (conversation, error) {
	h.mu.Lock()
	base, known := h.base, h.known
	h.mu.Unlock()
	if known != nil {
		return &httpConversation{h: h, base: base, said: known}, nil
	}
	u := h.o.URL.JoinPath(infoRefs)
	u.RawQuery = "service=git-upload-pack"
	res, err := h.do(context.WithValue(ctx, discovery{}, true), http.MethodGet, u, "")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "application/x-git-upload-pack-advertisement") {
		return nil, ErrNoVersion // a page for people, or the old protocol for web servers
	}
	p := newPackets(&limited{r: res.Body, left: maxRefs, err: ErrTooLarge})
	said, err := readHTTPHello(p)
	if err != nil {
		return nil, fmt.Errorf("read the server's first words: %w", err)
	}
	at := *res.Request.URL
	at.Path, at.RawPath, at.RawQuery = strings.TrimSuffix(at.Path, infoRefs), strings.TrimSuffix(at.RawPath, infoRefs), ""
	if said.version == 2 {
		h.mu.Lock()
		h.base, h.known = &at, said
		h.mu.Unlock()
	}
	return &httpConversation{h: h, base: &at, said: said}, nil
}

// readHTTPHello skips the line that names the service, where there is one.
func readHTTPHello(p *packets) (*hello, error) {
	start, err := p.r.Peek(5)
	if err != nil {
		return nil, unexpected(err)
	}
	if start[4] == '#' {
		for k := data; k == data; {
			if k, _, err = p.next(); err != nil {
				return nil, unexpected(err)
			}
		}
	}
	return readHello(p)
}

type httpConversation struct {
	h    *overHTTP
	base *url.URL
	said *hello
}

func (c *httpConversation) hello() *hello { return c.said }
func (c *httpConversation) Close() error  { return nil }

func (c *httpConversation) ask(ctx context.Context, request string) (io.ReadCloser, error) {
	res, err := c.h.do(ctx, http.MethodPost, c.base.JoinPath("git-upload-pack"), request)
	if err != nil {
		// It may have moved, or be another server now.
		c.h.mu.Lock()
		c.h.base, c.h.known = c.h.o.URL, nil
		c.h.mu.Unlock()
		return nil, err
	}
	return res.Body, nil
}

func (h *overHTTP) do(ctx context.Context, method string, u *url.URL, body string) (*http.Response, error) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), content)
	if err != nil {
		return nil, errors.New("the URL cannot be asked for")
	}
	req.Header.Set("User-Agent", "git/mainstay")
	req.Header.Set("Git-Protocol", "version=2")
	req.Header.Set("Accept", "*/*")
	if body != "" {
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	if h.o.Authorize != nil {
		if err := h.o.Authorize(ctx, req); err != nil {
			return nil, err
		}
	}
	res, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return nil, StatusOf(res)
	}
	return res, nil
}

// StatusOf is the error for an answer that is no success.
func StatusOf(res *http.Response) *StatusError {
	e := &StatusError{Code: res.StatusCode, RetryAfter: retryAfter(res.Header)}
	e.Limited = res.StatusCode == http.StatusTooManyRequests ||
		res.StatusCode == http.StatusForbidden && (res.Header.Get("Retry-After") != "" || res.Header.Get("X-Ratelimit-Remaining") == "0")
	return e
}

// retryAfter reads how long a server wants to be left alone.
func retryAfter(h http.Header) time.Duration {
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		return max(time.Until(at), 0)
	}
	if at, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64); err == nil && h.Get("X-Ratelimit-Remaining") == "0" {
		return max(time.Until(time.Unix(at, 0)), 0)
	}
	return 0
}
