// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package alerting

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
)

// Programs are the paths of what Build built.
type Programs struct {
	Prometheus, Promtool, Alertmanager string
}

// prometheusTags leaves out the discovery of targets in clouds, whose clients
// are most of what would have to be compiled.
const prometheusTags = "remove_all_sd"

const (
	prometheusModule   = "github.com/prometheus/prometheus"
	alertmanagerModule = "github.com/prometheus/alertmanager"
)

// memoryLimit is the version that Alertmanager compiles with; Prometheus wants a
// newer one with another interface.
const memoryLimit = "github.com/KimMachineGun/automemlimit => github.com/KimMachineGun/automemlimit v0.7.5"

// Build returns the programs and builds those that are missing; progress is told
// what is built.
func Build(ctx context.Context, progress io.Writer) (Programs, error) {
	module, err := findModule()
	if err != nil {
		return Programs{}, err
	}
	dir, err := cacheDir(ctx, module)
	if err != nil {
		return Programs{}, err
	}
	programs := Programs{filepath.Join(dir, "prometheus"), filepath.Join(dir, "promtool"), filepath.Join(dir, "alertmanager")}
	if programs.complete() {
		return programs, nil
	}
	unlock, err := process.Lock(ctx, filepath.Join(dir, "lock"), func() {
		fmt.Fprintln(progress, "Waiting for another program that builds Prometheus and Alertmanager.")
	})
	if err != nil {
		return Programs{}, fmt.Errorf("build prometheus: %w", err)
	}
	defer unlock()
	if programs.complete() {
		return programs, nil
	}
	fmt.Fprintf(progress, "Building Prometheus and Alertmanager once, into %s: about 6 minutes on two cores.\n", dir)
	if err := build(ctx, module, dir); err != nil {
		return Programs{}, err
	}
	return programs, nil
}

func (p Programs) complete() bool {
	for _, file := range []string{p.Prometheus, p.Promtool, p.Alertmanager} {
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			return false
		}
	}
	return true
}

func build(ctx context.Context, module, dir string) error {
	temp, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	mod, err := withoutUI(ctx, module, temp)
	if err != nil {
		return fmt.Errorf("prepare alertmanager: %w", err)
	}
	out := filepath.Join(temp, "bin") + string(filepath.Separator)
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	flags := []string{"-tags", prometheusTags, "-ldflags", "-s -w", "-o", out}
	for what, args := range map[string][]string{
		"prometheus":   append(flags, prometheusModule+"/cmd/prometheus", prometheusModule+"/cmd/promtool"),
		"alertmanager": append([]string{"-modfile", mod, "-mod=mod"}, append(flags, alertmanagerModule+"/cmd/alertmanager")...),
	} {
		if err := run(ctx, module, append([]string{"build"}, args...)...); err != nil {
			return fmt.Errorf("build %s: %w", what, err)
		}
	}
	built, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	for _, program := range built {
		if err := os.Rename(filepath.Join(out, program.Name()), filepath.Join(dir, program.Name())); err != nil {
			return err
		}
	}
	return nil
}

// withoutUI copies Alertmanager's module and gives the copy an empty user
// interface, since the real one is made by other tools than Go's and is no part
// of the module. It returns the go.mod that uses the copy.
func withoutUI(ctx context.Context, module, temp string) (string, error) {
	cmd := goCommand(ctx, module, "list", "-m", "-json", alertmanagerModule)
	raw, err := cmd.Output()
	if err != nil {
		return "", err
	}
	var known struct{ Dir, Version string }
	if err := json.Unmarshal(raw, &known); err != nil {
		return "", err
	}
	if known.Dir == "" {
		if err := run(ctx, module, "mod", "download", alertmanagerModule); err != nil {
			return "", err
		}
		return withoutUI(ctx, module, temp)
	}
	source := filepath.Join(temp, "alertmanager")
	if err := os.CopyFS(source, os.DirFS(known.Dir)); err != nil {
		return "", err
	}
	dist := filepath.Join(source, "ui", "app", "dist")
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dist, "index.html"), []byte("<html></html>"), 0o600); err != nil {
		return "", err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		if name == "go.mod" {
			content = fmt.Appendf(content, "\nreplace %s => %s\n\nreplace %s\n", alertmanagerModule, source, memoryLimit)
		}
		if err := os.WriteFile(filepath.Join(temp, name), content, 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(temp, "go.mod"), nil
}

// findModule returns the folder of the nested module, from any folder of this
// module.
func findModule() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		module := filepath.Join(dir, "test", "monitoring")
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			return module, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of Mainstay", start)
		}
	}
}

// cacheDir is where what the module's versions and this version of Go build is
// kept.
func cacheDir(ctx context.Context, module string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		raw, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		sum.Write(raw)
	}
	version, err := goCommand(ctx, module, "env", "GOVERSION").Output()
	if err != nil {
		return "", fmt.Errorf("run go: %w", err)
	}
	sum.Write(version)
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "mainstay", "alerting", fmt.Sprintf("%x", sum.Sum(nil)[:8]))
	return dir, os.MkdirAll(dir, 0o755)
}

func goCommand(ctx context.Context, module string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "GOOS=", "GOARCH=", "GOWORK=off", "GOFLAGS=")
	return cmd
}

func run(ctx context.Context, module string, args ...string) error {
	out, err := goCommand(ctx, module, args...).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("go %s: %w", args[0], err), errors.New(strings.TrimSpace(string(out))))
	}
	return nil
}
