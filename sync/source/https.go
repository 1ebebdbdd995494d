// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// httpsRemote speaks git's smart HTTP protocol. It uses go-git's transport and
// not its Fetch, which walks every object of the clone to say what it has; here
// the server is told the commits that were fetched last.
type httpsRemote struct {
	url    string
	auth   transport.AuthMethod
	client transport.Transport
}

func newHTTPSRemote(t *target) (*httpsRemote, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(t.auth.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(t.auth.CA) {
			return nil, fail(ReasonTLSFailed, nil, "ca.crt holds no certificate in PEM: check the Secret named in spec.source.secretRef")
		}
		config.RootCAs = pool
	}
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	r := &httpsRemote{url: t.url.String(), client: githttp.NewClient(&http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 15 * time.Second,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     90 * time.Second,
	}})}
	switch {
	case t.auth.BearerToken != "":
		r.auth = &githttp.TokenAuth{Token: t.auth.BearerToken}
	case t.auth.Username != "" || t.auth.Password != "":
		r.auth = &githttp.BasicAuth{Username: t.auth.Username, Password: t.auth.Password}
	}
	return r, nil
}

func (r *httpsRemote) session() (transport.UploadPackSession, error) {
	endpoint, err := transport.NewEndpoint(r.url)
	if err != nil {
		return nil, err
	}
	return r.client.NewUploadPackSession(endpoint, r.auth)
}

func (r *httpsRemote) list(ctx context.Context) (*listing, error) {
	session, err := r.session()
	if err != nil {
		return nil, err
	}
	defer session.Close()
	answer, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return nil, err
	}
	return &listing{refs: answer.References, peeled: answer.Peeled, capabilities: answer.Capabilities}, nil
}

func (r *httpsRemote) fetch(ctx context.Context, refs *listing, into *clone, want plumbing.Hash) error {
	wants := []plumbing.Hash{want}
	haves := into.haves()
	// A server that knows nothing of shallow clones would take us to have the
	// history of what we have, and leave out what is in it.
	if refs.capabilities.Supports(capability.Shallow) && len(haves) > 0 && !slices.Contains(haves, want) {
		err := r.upload(ctx, refs, into, request{wants: wants, haves: haves, depth: 1})
		if err == nil || ctx.Err() != nil {
			return err
		}
		// Whatever it was, it is not needed to get on: ask for all.
	}
	return r.upload(ctx, refs, into, request{wants: wants, depth: 1})
}

func (r *httpsRemote) fetchCommit(ctx context.Context, refs *listing, into *clone, commit plumbing.Hash) error {
	tips := refs.tips()
	if slices.Contains(tips, commit) || refs.capabilities.Supports(capability.AllowReachableSHA1InWant) ||
		refs.capabilities.Supports(capability.AllowTipSHA1InWant) {
		if err := r.fetch(ctx, refs, into, commit); err == nil {
			return nil
		} else if ctx.Err() != nil {
			return err
		}
	}
	// The server gives out by name only. It must not be told what is here: it
	// would leave out what it believes to be our history.
	if err := r.upload(ctx, refs, into, request{wants: tips}); err != nil {
		return err
	}
	if !into.has(commit) {
		return commitNotFound(commit)
	}
	return nil
}

// request is for one pack.
type request struct {
	wants, haves []plumbing.Hash
	// depth is 0 for the whole history.
	depth int
}

// upload asks for one pack and stores it.
func (r *httpsRemote) upload(ctx context.Context, refs *listing, into *clone, ask request) (err error) {
	req := packp.NewUploadPackRequestFromCapabilities(refs.capabilities)
	req.Wants, req.Haves = ask.wants, ask.haves
	options := map[capability.Capability]bool{
		capability.NoProgress: refs.capabilities.Supports(capability.NoProgress),
		// go-git hides that the server offers it, as its own Fetch cannot read
		// a thin pack. But only then does a server leave out what is in the
		// haves, when the history between is not transferred.
		capability.ThinPack: len(ask.haves) > 0,
	}
	if ask.depth > 0 && refs.capabilities.Supports(capability.Shallow) {
		req.Depth, req.Shallows = packp.DepthCommits(ask.depth), ask.haves
		options[capability.Shallow] = true
	}
	for option, on := range options {
		if !on {
			continue
		}
		if err := req.Capabilities.Set(option); err != nil {
			return err
		}
	}
	session, err := r.session()
	if err != nil {
		return err
	}
	defer session.Close()
	answer, err := session.UploadPack(ctx, req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answer.Close()) }()
	pack := demultiplex(req.Capabilities, answer)
	if len(ask.haves) > 0 {
		err = storeThin(into.store, pack)
	} else {
		err = packfile.WritePackfileToObjectStorage(into.store, pack)
	}
	if err != nil {
		return fmt.Errorf("receive the pack: %w", err)
	}
	return nil
}

func demultiplex(capabilities *capability.List, answer io.Reader) io.Reader {
	switch {
	case capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, answer)
	case capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, answer)
	}
	return answer
}
