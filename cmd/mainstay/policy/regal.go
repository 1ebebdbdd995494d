// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mainstay-gitops/mainstay/policy/regal"
)

// moot are rules of Regal that know less than the compiler, which has the helpers
// and data.cluster, and asks the rules of the contract.
var moot = []string{"unresolved-import", "unresolved-reference", "no-defined-entrypoint"} //nolint:gochecknoglobals // a constant

const notLinted = "not linted by regal: not found on PATH"

// lintWithRegal asks Regal about folders, where it is installed: on the PATH or
// beside this program. It is never downloaded. The text says what was done.
func lintWithRegal(ctx context.Context, mode string, dirs []string) ([]finding, string, error) {
	if mode == "off" {
		return nil, "off", nil
	}
	program, err := exec.LookPath("regal")
	if err != nil {
		if program = beside("regal"); program == "" {
			if mode == "require" {
				return nil, "", errors.New(notLinted + ": install it, or leave --lint=require out")
			}
			return nil, notLinted, nil
		}
	}
	// Regal ends with a status of its own where it finds something.
	cmd := exec.CommandContext(ctx, program, append([]string{"lint", "--format", "json"}, dirs...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	found, parseErr := regalFindings(stdout.Bytes())
	if parseErr != nil {
		return nil, "", fmt.Errorf("run %s: %w: %s", program, errors.Join(err, parseErr), strings.TrimSpace(stderr.String()))
	}
	return found, "linted", nil
}

func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	path := filepath.Join(filepath.Dir(self), name)
	if info, err := os.Stat(path); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return ""
	}
	return path
}

// regalFindings reads what regal lint --format json writes. Errors of Regal are
// warnings here: they keep nothing from being loaded.
func regalFindings(report []byte) ([]finding, error) {
	var parsed struct {
		Violations []struct {
			Title       string `json:"title"`
			Category    string `json:"category"`
			Description string `json:"description"`
			Level       string `json:"level"`
			Location    struct {
				File string `json:"file"`
				Row  int    `json:"row"`
				Col  int    `json:"col"`
			} `json:"location"`
			Related []struct {
				Description string `json:"description"`
				Ref         string `json:"ref"`
			} `json:"related_resources"`
		} `json:"violations"`
	}
	if err := json.Unmarshal(report, &parsed); err != nil {
		return nil, fmt.Errorf("read its report: %w", err)
	}
	var out []finding
	for _, v := range parsed.Violations {
		if v.Category == regal.Category || slices.Contains(moot, v.Title) {
			continue // check finds the same by itself, and knows what silences it
		}
		x := finding{
			File: v.Location.File, Row: v.Location.Row, Col: v.Location.Col, Level: "warning", Rule: "regal/" + v.Title, Message: v.Description,
		}
		if v.Level != "error" {
			x.Level = "note"
		}
		if len(v.Related) > 0 {
			x.Hint = v.Related[0].Ref
		}
		out = append(out, x)
	}
	return out, nil
}
