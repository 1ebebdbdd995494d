// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox"
)

// shop is what the story plays with: the cluster, as two people, and a clone
// of the repository.
type shop struct {
	state *sandbox.State
	git   string
	clone string
	// environment of kubectl and git.
	environment []string
	admin       dynamic.Interface
	alice       dynamic.Interface
	// release is the commit of the first step, which the last takes back.
	release string
}

func newShop(ctx context.Context, state *sandbox.State, git, clone string) (*shop, error) {
	s := &shop{state: state, git: git, clone: clone, environment: environment(state)}
	for user, client := range map[string]*dynamic.Interface{"admin": &s.admin, "alice": &s.alice} {
		config, err := state.RESTConfig(user)
		if err != nil {
			return nil, err
		}
		if *client, err = dynamic.NewForConfig(config); err != nil {
			return nil, fmt.Errorf("make a client for %s: %w", user, err)
		}
	}
	cmd := exec.CommandContext(ctx, git, "clone", "--quiet", state.Repository, clone)
	cmd.Env = s.environment
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("clone %s: %w: %s", state.Repository, err, output)
	}
	return s, nil
}

// environment keeps what the user has set for git and kubectl out of the story.
func environment(state *sandbox.State) []string {
	own := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "GIT_") })
	return append(append(own, state.Environment(os.Getenv("PATH"))...),
		"LC_ALL=C", "KUBERC=off",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat",
		"GIT_AUTHOR_NAME=Dana", "GIT_AUTHOR_EMAIL=dana@shop.example",
		"GIT_COMMITTER_NAME=Dana", "GIT_COMMITTER_EMAIL=dana@shop.example",
	)
}

// kubectl runs kubectl as alice.
func (s *shop) kubectl(ctx context.Context, on *stage, args ...string) (Command, error) {
	args = append([]string{"--context", "alice"}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(s.state.Bin, "kubectl"), args...)
	cmd.Env = s.environment
	return on.run(ctx, cmd, shell("kubectl", args))
}

// gitRun runs git in the clone. That it fails is an error.
func (s *shop) gitRun(ctx context.Context, on *stage, args ...string) error {
	cmd := exec.CommandContext(ctx, s.git, args...)
	cmd.Dir, cmd.Env = s.clone, s.environment
	c, err := on.run(ctx, cmd, shell("git", args))
	if err != nil {
		return err
	}
	return c.says()
}

// push pushes and returns when it began.
func (s *shop) push(ctx context.Context, on *stage) (time.Time, error) {
	began := time.Now()
	return began, s.gitRun(ctx, on, "push")
}

// commit commits everything in the clone with a message.
func (s *shop) commit(ctx context.Context, on *stage, message string) error {
	if err := s.gitRun(ctx, on, "add", "--all"); err != nil {
		return err
	}
	return s.gitRun(ctx, on, "commit", "-m", message)
}

// edit replaces text in a file of the clone, where it occurs once, and shows
// the difference.
func (s *shop) edit(ctx context.Context, on *stage, file, before, after string) error {
	name := filepath.Join(s.clone, filepath.FromSlash(file))
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if strings.Count(string(raw), before) != 1 {
		return fmt.Errorf("expected %q once in %s", before, file)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(raw), before, after, 1)), 0o600); err != nil {
		return err
	}
	return s.gitRun(ctx, on, "diff", "--unified=0")
}

// tail shows the last lines of a file of the clone.
func (s *shop) tail(ctx context.Context, on *stage, lines int, file string) error {
	args := []string{"-n", strconv.Itoa(lines), file}
	cmd := exec.CommandContext(ctx, "tail", args...)
	cmd.Dir, cmd.Env = s.clone, s.environment
	c, err := on.run(ctx, cmd, shell("tail", args))
	if err != nil {
		return err
	}
	return c.says()
}

// write makes a file in the clone.
func (s *shop) write(file, content string) error {
	name := filepath.Join(s.clone, filepath.FromSlash(file))
	return errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600))
}

// head returns the newest commit of the clone.
func (s *shop) head(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, s.git, "rev-parse", "HEAD")
	cmd.Dir, cmd.Env = s.clone, s.environment
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the newest commit: %w", err)
	}
	return strings.TrimSpace(string(output)), nil
}

// shell writes a command as a POSIX shell reads it.
func shell(program string, args []string) string {
	words := []string{quote(program)}
	for _, arg := range args {
		words = append(words, quote(arg))
	}
	return strings.Join(words, " ")
}

func quote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\n\"'`$&|;<>()[]{}*?!#~\\") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
