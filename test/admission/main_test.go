// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mainstay-gitops/mainstay/test/world"
)

var shared *world.World

func TestMain(m *testing.M) {
	os.Exit(world.Main(m, func(w *world.World) { shared = w }))
}

// setUp is what the README tells a reader to do first. It is run here as it is
// printed there.
const setUp = `eval "$(bin/mainstay sandbox env)"
kubectl config use-context alice
kubectl config set-context alice --namespace=shop
kubectl create namespace guest
git clone -q "$MAINSTAY_REPO" shop-git
cp -r test/admission/testdata/shop/. shop-git
git -C shop-git add -A
git -C shop-git commit -q -m "more to try"
git -C shop-git push -q
sed "s|REPO|$MAINSTAY_REPO|" test/admission/testdata/gitsyncs.yaml | kubectl apply -f -`

// shell runs command lines as a reader of the README would, at the root of the
// repository.
type shell struct {
	dir string
	env []string
}

// newShell returns a shell in a folder that looks like the root of the
// repository, so that nothing is cloned into the repository itself.
func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{dir: t.TempDir()}
	root, err := filepath.Abs("../..")
	world.Must(t, err)
	world.Must(t, os.Symlink(filepath.Join(root, "test"), filepath.Join(s.dir, "test")))
	s.env = append(os.Environ(), shared.State.Environment(os.Getenv("PATH"))...)
	s.env = append(s.env, "GIT_AUTHOR_NAME=Cy", "GIT_AUTHOR_EMAIL=cy@shop.example", "GIT_COMMITTER_NAME=Cy", "GIT_COMMITTER_EMAIL=cy@shop.example")
	return s
}

// run runs one line and returns what it printed and how it ended.
func (s *shell) run(t *testing.T, line string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -o pipefail\n"+line)
	cmd.Dir, cmd.Env = s.dir, s.env
	// What kubectl exec leaves behind must not keep the test waiting.
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out), err
}

// prepare runs setUp and waits until all of it is applied.
func prepare(t *testing.T) *shell {
	t.Helper()
	s := newShell(t)
	for line := range strings.Lines(setUp) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "eval ") {
			continue // newShell has the variables.
		}
		if out, err := s.run(t, line); err != nil {
			t.Fatalf("%s: %s", line, out)
		}
	}
	s.applied(t)
	return s
}

// applied waits until every GitSync has applied what the clone's head is.
func (s *shell) applied(t *testing.T) {
	t.Helper()
	head, err := s.run(t, "git -C shop-git rev-parse HEAD")
	world.Must(t, err)
	shared.Await(t, "every GitSync has applied the commit", func() (bool, string) {
		out, err := s.run(t, `kubectl -n mainstay-system get gitsyncs -o jsonpath='{range .items[*]}{.metadata.name} {.status.lastAppliedRevision} {.status.conditions[?(@.type=="Ready")]}{"\n"}{end}'`)
		for line := range strings.Lines(out) {
			name, _, _ := strings.Cut(line, " ")
			if name != "observe" && !strings.Contains(line, strings.TrimSpace(head)) {
				return false, line
			}
		}
		return err == nil && out != "", out
	})
}
