// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

// remote is a repository to fetch from.
type remote interface {
	// list asks where the refs with one of the prefixes point to.
	list(ctx context.Context, prefixes []string) (*wire.Refs, error)
	// fetch brings commits. It leaves the clone as it was when it returns an
	// error.
	fetch(ctx context.Context, into *clone, want wire.Want) error
}

var (
	_ remote = (*server)(nil)
	_ remote = (*folderRemote)(nil)
)

func newRemote(t *target, clones string, maxPack int64) (remote, error) {
	switch t.url.Scheme {
	case "file":
		return newFolderRemote(t.url.Path, clones)
	case "ssh":
		return newSSH(t, maxPack)
	}
	return newHTTPS(t, maxPack)
}

// server is a repository on a git server.
type server struct{ wire *wire.Remote }

func newSSH(t *target, maxPack int64) (remote, error) {
	signer, err := t.auth.signer()
	if err != nil {
		return nil, err
	}
	if len(t.auth.KnownHosts) == 0 {
		return nil, fail(ReasonHostKeyFailed, nil,
			"known_hosts is missing, so that the server could be anybody: run `%s`, compare the fingerprints with those that the server's owner publishes, and put the lines into the key known_hosts of the Secret named in spec.source.secretRef",
			scanLine(t.url.Hostname(), t.url.Port()))
	}
	w, err := wire.NewSSH(wire.SSHOptions{URL: t.url, Signer: signer, KnownHosts: t.auth.KnownHosts, MaxPack: maxPack})
	if err != nil {
		return nil, err
	}
	return &server{w}, nil
}

func newHTTPS(t *target, maxPack int64) (remote, error) {
	roots, err := t.auth.roots()
	if err != nil {
		return nil, err
	}
	certificate, err := t.auth.certificate()
	if err != nil {
		return nil, err
	}
	proxy, err := t.auth.proxy()
	if err != nil {
		return nil, err
	}
	o := wire.HTTPOptions{URL: t.url, Roots: roots, Certificate: certificate, Proxy: proxy, MaxPack: maxPack}
	switch app := t.auth.GitHubApp; {
	case app.ID != "" || app.InstallationID != "" || len(app.PrivateKey) > 0:
		// The client certificate is the git server's.
		client := &http.Client{Transport: wire.NewTransport(roots, nil, proxy), CheckRedirect: refuseRedirect}
		tokens, err := newAppTokens(app, client)
		if err != nil {
			return nil, err
		}
		o.Authorize = tokens.authorize
	case t.auth.BearerToken != "":
		o.Authorize = func(_ context.Context, req *http.Request) error {
			req.Header.Set("Authorization", "Bearer "+t.auth.BearerToken)
			return nil
		}
	case t.auth.Username != "" || t.auth.Password != "":
		o.Authorize = func(_ context.Context, req *http.Request) error {
			req.SetBasicAuth(t.auth.Username, t.auth.Password)
			return nil
		}
	}
	return &server{wire.NewHTTP(o)}, nil
}

func (s *server) list(ctx context.Context, prefixes []string) (*wire.Refs, error) {
	return s.wire.Refs(ctx, prefixes)
}

func (s *server) fetch(ctx context.Context, into *clone, want wire.Want) error {
	err := s.ask(ctx, into, want)
	if !errors.Is(err, wire.ErrByName) {
		return err
	}
	// The server gives out by name only: everything, to find the commit in it.
	// It must not be told what is here: it would leave out what it believes to
	// be our history.
	refs, err := s.wire.Refs(ctx, []string{"refs/heads/", "refs/tags/"})
	if err != nil {
		return err
	}
	if err := s.ask(ctx, into, wire.Want{Commits: refs.Tips()}); err != nil {
		return err
	}
	for _, c := range want.Commits {
		if !into.has(c) {
			return commitNotFound(c)
		}
	}
	return nil
}

// ask fetches what is wanted. The cheap ways come first, what works with every
// server last: the difference to what the clone has, or all; the history up to
// a time, or the commit alone.
func (s *server) ask(ctx context.Context, into *clone, want wire.Want) error {
	bounds := []wire.Want{want}
	if !want.Since.IsZero() {
		bounds = append(bounds, wire.Want{Commits: want.Commits, Depth: max(want.Depth, 1)})
	}
	var err error
	for _, have := range [][]plumbing.Hash{into.haves(), nil} {
		for _, w := range bounds {
			w.Have = have
			store := into.receive
			if len(have) > 0 {
				store = func(pack io.Reader) error { return storeThin(into.store, pack) }
			}
			err = s.wire.Fetch(ctx, w, store)
			if err == nil || ctx.Err() != nil || final(err) {
				return err
			}
		}
		if len(have) == 0 {
			break
		}
	}
	return err
}

// final tells that asking otherwise would not help.
func final(err error) bool {
	said, ok := errors.AsType[*wire.ServerError](err)
	return ok && strings.Contains(said.Text, notOurs) || errors.Is(err, wire.ErrByName) || classify(err).reason != ReasonFetchFailed
}

// receive stores a pack that stands alone, as it comes.
func (c *clone) receive(pack io.Reader) error {
	return packfile.WritePackfileToObjectStorage(c.store, pack)
}

// lacks tells that the clone has not all of the objects.
func (c *clone) lacks(commits ...plumbing.Hash) bool {
	return slices.ContainsFunc(commits, func(h plumbing.Hash) bool { return !c.has(h) })
}
