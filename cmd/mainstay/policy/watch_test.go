// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// heard collects what a command prints, and tells of every write.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
	news chan struct{}
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	h.text.Write(p)
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

// await returns when a text was printed.
func (h *heard) await(t *testing.T, want string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		h.mu.Lock()
		got := h.text.String()
		h.mu.Unlock()
		if strings.Contains(got, want) {
			return
		}
		select {
		case <-h.news:
		case <-late:
			t.Fatalf("never said %q:\n%s", want, got)
		}
	}
}

func TestWatchRunsTheTestsAgainWhenAFileChanges(t *testing.T) {
	clone(t)
	if out, err := run(t, "new", "night"); err != nil {
		t.Fatal(err, out)
	}
	cmd, out := NewCommand(), &heard{news: make(chan struct{}, 1)}
	cmd.SetOut(out)
	cmd.SetErr(out)
	cmd.SetArgs([]string{"test", "policies", "--watch"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	out.await(t, "3 tests: 3 passed, 0 failed\nwaiting for a change")

	const failing = "package night_more_test\n\nimport data.night\n\ntest_never if count(night.exception) == 7\n"
	if err := os.WriteFile("policies/night/more_test.rego", []byte(failing), 0o600); err != nil {
		t.Fatal(err)
	}
	out.await(t, "4 tests: 3 passed, 1 failed")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("it ends with %v", err)
	}
}
