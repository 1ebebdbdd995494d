// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/memfs"
	"github.com/go-git/go-billy/v5/osfs"
	billyutil "github.com/go-git/go-billy/v5/util"
	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

//go:embed seed
var seed embed.FS

// branch is the one that the GitSync follows.
const branch = "main"

// chapter is one commit of the seed.
type chapter struct {
	message string
	author  string
	// paths of the seed; a folder means all that is in it.
	paths []string
}

func chapters(empty bool) []chapter {
	if empty {
		return []chapter{{"start empty", "Dana", []string{"policies/README.md"}}}
	}
	return []chapter{
		{"shop: run the pages and the orders", "Dana", []string{"README.md", "namespace.yaml", "web", "api"}},
		{"policies: let whoever is on call leave a note", "Bo", []string{"policies"}},
	}
}

// seedRepository makes the bare repository, unless it is there. It appears
// whole or not at all, and needs no git program; git clones it and pushes to it
// like to any other.
func seedRepository(dir string, empty bool) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	next := dir + ".next"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := writeCommits(next, chapters(empty)); err != nil {
		return fmt.Errorf("make the repository: %w", err)
	}
	return os.Rename(next, dir)
}

func writeCommits(dir string, commits []chapter) error {
	main := plumbing.NewBranchReferenceName(branch)
	if _, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{
		InitOptions: git.InitOptions{DefaultBranch: main},
		Bare:        true,
	}); err != nil {
		return err
	}
	// The same repository again with its files in memory, to commit from.
	files := memfs.New()
	repo, err := git.Open(filesystem.NewStorage(osfs.New(dir), cache.NewObjectLRUDefault()), files)
	if err != nil {
		return err
	}
	tree, err := repo.Worktree()
	if err != nil {
		return err
	}
	began := time.Now().Add(-time.Duration(len(commits)) * time.Minute)
	for i, c := range commits {
		for _, p := range c.paths {
			err := fs.WalkDir(seed, path.Join("seed", p), func(name string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				content, err := seed.ReadFile(name)
				if err != nil {
					return err
				}
				name = strings.TrimPrefix(name, "seed/")
				if err := billyutil.WriteFile(files, name, content, 0o644); err != nil {
					return err
				}
				_, err = tree.Add(name)
				return err
			})
			if err != nil {
				return err
			}
		}
		author := &object.Signature{
			Name:  c.author,
			Email: strings.ToLower(c.author) + "@shop.example",
			When:  began.Add(time.Duration(i) * time.Minute),
		}
		if _, err := tree.Commit(c.message, &git.CommitOptions{Author: author}); err != nil {
			return err
		}
	}
	// What Add has staged; a bare repository has no index.
	return os.Remove(filepath.Join(dir, "index"))
}

// fileURL returns the URL of an absolute path.
func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }
