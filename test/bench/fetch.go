// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

const (
	manyFiles   = 50_000
	changedFile = "apps/a0/f7.yaml"
)

// fetch measures what one changed file of a large repository costs until it is
// an object: over TLS, from git's own server, in a clone that has the rest.
func (b *bench) fetch() error {
	repo := filepath.Join(b.dir, "many.git")
	if err := b.git(repo, "", "init", "-q", "--bare", "-b", "main", repo); err != nil {
		return err
	}
	if err := b.many(repo); err != nil {
		return err
	}
	execPath, err := exec.CommandContext(b.ctx, "git", "--exec-path").Output()
	if err != nil {
		return err
	}
	server := httptest.NewTLSServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + b.dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	})
	defer server.Close()
	store, err := source.New(source.Options{Dir: filepath.Join(b.dir, "many-cache")})
	if err != nil {
		return err
	}
	req := source.Request{URL: server.URL + "/many.git", Branch: "main", Auth: source.Auth{
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}}
	start := time.Now()
	snapshot, err := store.Fetch(b.ctx, req)
	if err != nil {
		return err
	}
	first := time.Since(start)
	start = time.Now()
	seen, parsed, err := b.rendered(snapshot.FS, nil)
	if err != nil {
		return err
	}
	whole := time.Since(start)
	if parsed != manyFiles {
		return fmt.Errorf("%d files were parsed, want %d", parsed, manyFiles)
	}
	var fetched, rendered times
	for i := range 5 {
		if err := b.one(repo, i); err != nil {
			return err
		}
		req.LastCommit, req.Base = snapshot.Revision.Commit, snapshot.Revision.Commit
		start = time.Now()
		if snapshot, err = store.Fetch(b.ctx, req); err != nil {
			return err
		}
		fetched = append(fetched, time.Since(start))
		start = time.Now()
		if seen, parsed, err = b.rendered(snapshot.FS, seen); err != nil {
			return err
		}
		rendered = append(rendered, time.Since(start))
		if parsed != 1 {
			return fmt.Errorf("%d files were parsed, want the one that changed", parsed)
		}
	}
	b.report.add(row{
		Part: "sync", What: "one changed file of 50,000 fetched, over TLS", Result: fmt.Sprintf("p50 %.2f s", fetched.p50().Seconds()),
		Peer: fmt.Sprintf("the first fetch of all: %.1f s", first.Seconds()), Ratio: fmt.Sprintf("%.2f ×", ratio(fetched.p50(), first)),
		Budget: "≤ 1 s", Met: new(fetched.p50() <= time.Second),
	})
	b.report.add(row{
		Part: "sync", What: "and rendered: one file is parsed", Result: fmt.Sprintf("p50 %.2f s", rendered.p50().Seconds()),
		Peer: fmt.Sprintf("all of them: %.1f s", whole.Seconds()), Ratio: fmt.Sprintf("%.2f ×", ratio(rendered.p50(), whole)),
	})
	return nil
}

// rendered renders what is not as it was when before was seen, and counts the
// files that were parsed.
func (b *bench) rendered(tree fs.FS, before source.Seen) (source.Seen, int, error) {
	reads := source.Watch(tree)
	if reads == nil {
		return nil, 0, errors.New("the tree is none of a snapshot")
	}
	parsed := 0
	_, err := render.Objects(b.ctx, reads, render.Options{Known: func(file string) bool {
		if reads.Same(file, before) {
			return true
		}
		parsed++
		return false
	}})
	return reads.Seen(), parsed, err
}

// many makes a commit of many files.
func (b *bench) many(repo string) error {
	cmd := exec.CommandContext(b.ctx, "git", "-C", repo, "fast-import", "--quiet")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w := bufio.NewWriterSize(in, 1<<20)
	fmt.Fprintf(w, "commit refs/heads/main\ncommitter Bo <bo@example.org> 1700000000 +0000\ndata 4\nMany\n")
	for i := range manyFiles {
		text := string(encode(configMap("shop", i)))
		fmt.Fprintf(w, "M 100644 inline apps/a%d/f%d.yaml\ndata %d\n%s\n", i/100, i, len(text), text)
	}
	fmt.Fprintln(w, "done")
	return errors.Join(w.Flush(), in.Close(), cmd.Wait())
}

// one commits another version of one file.
func (b *bench) one(repo string, i int) error {
	o := configMap("shop", 7)
	o["data"] = map[string]any{"changed": fmt.Sprint(i)}
	text := string(encode(o))
	return b.git(repo, fmt.Sprintf("commit refs/heads/main\ncommitter Bo <bo@example.org> %d +0000\ndata 3\nOne\nfrom refs/heads/main^0\nM 100644 inline %s\ndata %d\n%s\n\ndone\n",
		1_800_000_000+i, changedFile, len(text), text), "-C", repo, "fast-import", "--quiet")
}

func (b *bench) git(repo, input string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, "git", args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s in %s: %w\n%s", strings.Join(args, " "), repo, err, out)
	}
	return nil
}
