// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"

	git "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Local is a repository on this disk with its working copy, as people have it
// before they push. Nothing is fetched.
type Local struct {
	// Root is the working copy's folder.
	Root string
	repo *git.Repository
}

// OpenLocal finds the repository that a folder is in.
func OpenLocal(folder string) (*Local, error) {
	repo, err := git.PlainOpenWithOptions(folder, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, fmt.Errorf("%s is in no git repository: run it in your clone", folder)
	}
	if err != nil {
		return nil, fmt.Errorf("open the repository of %s: %w", folder, err)
	}
	work, err := repo.Worktree()
	if err != nil {
		return nil, fmt.Errorf("open the working copy of %s: %w", folder, err)
	}
	return &Local{Root: work.Filesystem.Root(), repo: repo}, nil
}

// Addresses are the URLs of the repository's remotes.
func (l *Local) Addresses() []string {
	remotes, err := l.repo.Remotes()
	if err != nil {
		return nil
	}
	var urls []string
	for _, r := range remotes {
		urls = append(urls, r.Config().URLs...)
	}
	return urls
}

// Revision reads what a commit, branch, tag or any other name that git knows
// stands for. The tree is like that of a Snapshot.
func (l *Local) Revision(name string) (Revision, fs.FS, error) {
	hash, err := l.repo.ResolveRevision(plumbing.Revision(name))
	if err != nil {
		return Revision{}, nil, fmt.Errorf("find %s in %s: %w: git fetch may bring it", name, l.Root, err)
	}
	commit, err := l.repo.CommitObject(*hash)
	if err != nil {
		return Revision{}, nil, fmt.Errorf("read commit %s: %w", hash, err)
	}
	store, ok := l.repo.Storer.(*filesystem.Storage)
	if !ok {
		return Revision{}, nil, fmt.Errorf("the repository of %s is not on a disk", l.Root)
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(commit.Message), "\n")
	revision := Revision{
		Name: name + "@sha1:" + commit.Hash.String(), Commit: commit.Hash.String(),
		Author: commit.Author.String(), Time: commit.Committer.When, Subject: subject,
	}
	return revision, &tree{time: commit.Committer.When, root: commit.TreeHash, suspect: new(atomic.Bool), store: store}, nil
}
