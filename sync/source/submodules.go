// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// The limits of what one commit may bring along.
const (
	maxSubmodules     = 50
	maxSubmoduleDepth = 3
)

// ReasonSubmoduleNotAllowed is the reason where a submodule leads to where its
// repository may not.
const ReasonSubmoduleNotAllowed = "SubmoduleNotAllowed"

const modulesFile = ".gitmodules"

// errNotAModule is the error for a folder that git has as a submodule and that
// .gitmodules does not name.
var errNotAModule = errors.New("is a submodule that " + modulesFile + " has no url of: name it there, or remove it")

// following brings the submodules of one snapshot.
type following struct {
	store *Store
	req   Request
	left  int
}

// follow gives a snapshot's tree the submodules that its commit pins. They come
// from the same server with the same credentials, or from where Options allow,
// without any. Since the tree names their commits, whoever signed its commit
// signed for them, too.
func (s *Store) follow(ctx context.Context, t *target, snapshot Snapshot, req Request) (time.Duration, error) {
	root, ok := snapshot.FS.(*tree)
	if !ok || !req.Submodules {
		return 0, nil
	}
	f := &following{store: s, req: req, left: maxSubmodules}
	return f.into(ctx, t, root, maxSubmoduleDepth)
}

// into brings those of one tree, and theirs.
func (f *following) into(ctx context.Context, t *target, root *tree, depth int) (time.Duration, error) {
	root.followed = true
	modules, err := root.modules()
	if err != nil {
		return 0, err
	}
	for _, m := range modules {
		if f.left--; f.left < 0 {
			return 0, fail(ReasonFetchFailed, nil, "the commit has more than %d submodules: follow some of them with GitSyncs of their own", maxSubmodules)
		}
		if depth == 0 {
			return 0, fail(ReasonFetchFailed, nil, "submodule %s is in a submodule of a submodule of a submodule, and deeper than %d none is followed", m.path, maxSubmoduleDepth)
		}
		after, err := f.one(ctx, t, root, m, depth)
		if err != nil {
			known := explain(err, m.url, &t.auth)
			return after, fail(known.reason, err, "submodule %s: %s", m.path, known.message)
		}
	}
	return 0, nil
}

// one brings a submodule at the commit that its tree pins.
func (f *following) one(ctx context.Context, t *target, root *tree, m module, depth int) (time.Duration, error) {
	req, err := f.request(t, m)
	if err != nil {
		return 0, err
	}
	sub, err := newTarget(req)
	if err != nil {
		return 0, err
	}
	snapshot, after, err := f.store.fetch(ctx, sub, req)
	if err != nil {
		return after, err
	}
	below, ok := snapshot.FS.(*tree)
	if !ok {
		return 0, fmt.Errorf("commit %s has no tree", m.commit)
	}
	if root.submodules == nil {
		root.submodules = map[string]*tree{}
	}
	root.submodules[m.path] = below
	return f.into(ctx, sub, below, depth-1)
}

// request says what to fetch for a submodule. Credentials go to no other server.
func (f *following) request(t *target, m module) (Request, error) {
	u, err := address(t.url, m.url)
	if err != nil {
		return Request{}, err
	}
	req := Request{URL: u.String(), Commit: m.commit.String(), Now: f.req.Now}
	switch {
	case sameServer(t.url, u):
		req.Auth = t.auth
	case !f.store.allows(u):
		return Request{}, fail(ReasonSubmoduleNotAllowed, nil,
			"is on another server than its repository, or outside its folder: write a url relative to it (../%s) in %s, or have whoever runs Mainstay list it in sync.submodules of the configuration",
			path.Base(u.Path), modulesFile)
	default:
		req.Auth = Auth{CA: t.auth.CA, Proxy: t.auth.Proxy} // the way there
	}
	return req, nil
}

// address is a submodule's URL as git understands it: one that begins with ./
// or ../ is relative to its repository.
func address(repository *url.URL, raw string) (*url.URL, error) {
	if m := scpForm.FindStringSubmatch(raw); m != nil && !strings.Contains(raw, "://") && !relative(raw) {
		raw = "ssh://" + m[1] + m[2] + "/" + strings.TrimPrefix(m[3], "/")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fail(ReasonFetchFailed, nil, "its url can't be parsed") // the parser's message repeats it
	}
	if relative(raw) {
		base := *repository
		base.Path, base.RawPath = strings.TrimRight(base.Path, "/")+"/", ""
		u = base.ResolveReference(u)
	}
	if slices.Contains(strings.Split(u.Path, "/"), "..") {
		return nil, fail(ReasonFetchFailed, nil, "its url has a .. inside: write it without")
	}
	return u, nil
}

func relative(raw string) bool {
	return strings.HasPrefix(raw, "./") || strings.HasPrefix(raw, "../")
}

// sameServer tells that a submodule is where its repository is. On this disk
// that is the folder that the repository is in.
func sameServer(repository, submodule *url.URL) bool {
	if repository.Scheme != submodule.Scheme || !strings.EqualFold(repository.Host, submodule.Host) {
		return false
	}
	switch repository.Scheme {
	case "file":
		return strings.HasPrefix(path.Clean(submodule.Path), path.Dir(path.Clean(repository.Path))+"/")
	case "ssh":
		return submodule.User.String() == repository.User.String()
	}
	return submodule.User == nil
}

// allows tells that whoever runs Mainstay lets submodules come from there.
func (s *Store) allows(u *url.URL) bool {
	if u.Scheme != "https" || u.User != nil {
		return false
	}
	return slices.ContainsFunc(s.o.Submodules, func(prefix string) bool {
		return strings.HasPrefix(u.String(), strings.TrimRight(prefix, "/")+"/")
	})
}

// module is a submodule of a tree.
type module struct {
	path, url string
	commit    plumbing.Hash
}

// modules are the submodules that a tree has and that .gitmodules names.
func (t *tree) modules() ([]module, error) {
	content, err := t.ReadFile(modulesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fail(ReasonFetchFailed, err, "read %s: %s", modulesFile, err)
	}
	parsed := config.NewModules()
	if err := parsed.Unmarshal(content); err != nil {
		return nil, fail(ReasonFetchFailed, err, "%s can't be parsed: %s", modulesFile, err)
	}
	var modules []module
	for _, m := range parsed.Submodules {
		name := path.Clean(m.Path)
		info, err := t.find("stat", name)
		if err != nil || info.entry.Mode != filemode.Submodule {
			continue // left over from one that is gone
		}
		modules = append(modules, module{path: name, url: m.URL, commit: info.entry.Hash})
	}
	slices.SortFunc(modules, func(a, b module) int { return strings.Compare(a.path, b.path) })
	return slices.CompactFunc(modules, func(a, b module) bool { return a.path == b.path }), nil
}

// below is the submodule that a name lies in, and the name there.
func (t *tree) below(name string) (sub *tree, prefix, rest string) {
	for at, sub := range t.submodules {
		if rest, ok := strings.CutPrefix(name, at+"/"); ok {
			return sub, at, rest
		}
	}
	return nil, "", ""
}

// under names the file of an error as the tree above does.
func under(prefix string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: p.Op, Path: path.Join(prefix, p.Path), Err: p.Err}
	}
	return err
}

// notFollowed is why a submodule is not read.
func (t *tree) notFollowed() error {
	if t.followed {
		return errNotAModule
	}
	return ErrSubmodule
}
