// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
)

// Binaries are the paths of the programs of a control plane.
type Binaries struct {
	Etcd              string
	APIServer         string
	ControllerManager string
	Kubectl           string
}

// BuildOptions are the options of Build.
type BuildOptions struct {
	// Progress receives what is being built and how far it is. Required.
	Progress io.Writer
	// Terminal says that Progress is a terminal, where a line can be
	// overwritten.
	Terminal bool
	// From is a folder inside a checkout of Mainstay. Empty: the working
	// directory.
	From string
}

// program is one binary, how to build it, and how long that took once on two
// cores without any cache.
type program struct {
	name, pkg, took string
}

func programs() []program {
	return []program{
		{"etcd", "go.etcd.io/etcd/server/v3", "1 minute"},
		{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "4 to 7 minutes"},
		{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", "1 to 4 minutes"},
		{"kubectl", "k8s.io/kubernetes/cmd/kubectl", "half a minute"},
	}
}

func binariesIn(dir string) Binaries {
	return Binaries{
		Etcd:              filepath.Join(dir, "etcd"),
		APIServer:         filepath.Join(dir, "kube-apiserver"),
		ControllerManager: filepath.Join(dir, "kube-controller-manager"),
		Kubectl:           filepath.Join(dir, "kubectl"),
	}
}

// Build returns the binaries of a control plane. Those in the folder that the
// environment's KUBEBUILDER_ASSETS names are used where it is set; else they
// come from the cache, and what is missing is built from the module
// test/controlplane of the checkout. Any number of programs may call Build at
// once: each binary is built once and appears whole.
func Build(ctx context.Context, opts BuildOptions) (Binaries, error) {
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		return buildMissing(ctx, opts, programs())
	}
	found := binariesIn(assets)
	for _, file := range []string{found.Etcd, found.APIServer, found.Kubectl} {
		if !executable(file) {
			return Binaries{}, fmt.Errorf("KUBEBUILDER_ASSETS is set, but %s is no program: put etcd, kube-apiserver and kubectl there, or unset the variable to have them built", file)
		}
	}
	if executable(found.ControllerManager) {
		return found, nil
	}
	// The usual asset archives have no kube-controller-manager.
	built, err := buildMissing(ctx, opts, programs()[2:3])
	if err != nil {
		return Binaries{}, fmt.Errorf("KUBEBUILDER_ASSETS has no kube-controller-manager: %w", err)
	}
	found.ControllerManager = built.ControllerManager
	return found, nil
}

func buildMissing(ctx context.Context, opts BuildOptions, wanted []program) (Binaries, error) {
	module, err := findModule(opts.From)
	if err != nil {
		return Binaries{}, err
	}
	version, err := goCommand(ctx, module, "env", "GOVERSION").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("run go, which builds the control plane: %w", err)
	}
	dir, err := cacheDir(module, strings.TrimSpace(string(version)))
	if err != nil {
		return Binaries{}, err
	}
	if len(missing(dir, wanted)) == 0 {
		return binariesIn(dir), nil
	}
	unlock, err := process.Lock(ctx, filepath.Join(dir, "lock"), func() {
		fmt.Fprintln(opts.Progress, "Waiting for another program that builds the control plane.")
	})
	if err != nil {
		return Binaries{}, fmt.Errorf("build the control plane: %w", err)
	}
	defer unlock()
	todo := missing(dir, wanted) // Again: another program may have been faster.
	if len(todo) == 0 {
		return binariesIn(dir), nil
	}
	flags, err := linkerFlags(module)
	if err != nil {
		return Binaries{}, err
	}
	if err := removeUnfinished(dir); err != nil {
		return Binaries{}, err
	}
	announce(opts.Progress, dir, todo)
	for _, p := range todo {
		if err := build(ctx, opts, module, dir, flags, p); err != nil {
			return Binaries{}, fmt.Errorf("build %s: %w", p.name, err)
		}
	}
	return binariesIn(dir), nil
}

// findModule returns the folder of the nested module that pins the versions.
func findModule(from string) (string, error) {
	start, err := filepath.Abs(from)
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && regexp.MustCompile(`(?m)^module github\.com/mainstay-gitops/mainstay$`).Match(mod) {
			return filepath.Join(dir, "test", "controlplane"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of Mainstay, which the control plane is built from: change to a clone of github.com/mainstay-gitops/mainstay, or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager and kubectl", start)
		}
	}
}

// cacheDir returns the folder for what the module's versions and this version
// of Go build, and makes it.
func cacheDir(module, goVersion string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		raw, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", fmt.Errorf("read the versions to build: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(raw), raw)
	}
	fmt.Fprintln(sum, goVersion)
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder to keep the control plane's programs in: %w", err)
	}
	dir := filepath.Join(cache, "mainstay", "controlplane", fmt.Sprintf("%x", sum.Sum(nil)[:8]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a folder to keep the control plane's programs in: %w", err)
	}
	return dir, nil
}

func missing(dir string, wanted []program) []program {
	var out []program
	for _, p := range wanted {
		if !executable(filepath.Join(dir, p.name)) {
			out = append(out, p)
		}
	}
	return out
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// linkerFlags give the programs the version that clients ask them for:
// without it, they cannot be parsed.
func linkerFlags(module string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", err
	}
	v := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+\S*)`).FindSubmatch(mod)
	if v == nil {
		return "", fmt.Errorf("read %s: it names no version of k8s.io/kubernetes", filepath.Join(module, "go.mod"))
	}
	flags := []string{"-s", "-w"}
	for _, f := range []string{
		"gitVersion=" + string(v[1]), "gitMajor=" + string(v[2]), "gitMinor=" + string(v[3]),
		"gitCommit=", "gitTreeState=clean",
	} {
		flags = append(flags, "-X", "k8s.io/component-base/version."+f)
	}
	return strings.Join(flags, " "), nil
}

// unfinished begins the names of folders with binaries that are being built.
const unfinished = "build-"

// removeUnfinished removes what a builder has left that was killed. The caller
// has the lock, so no other is at work.
func removeUnfinished(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, unfinished+"*"))
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

func announce(w io.Writer, dir string, todo []program) {
	fmt.Fprintf(w, "Building the control plane once, into %s.\n", dir)
	fmt.Fprintln(w, "Measured on two cores with empty caches:")
	for _, p := range todo {
		fmt.Fprintf(w, "  %-24s %s\n", p.name, p.took)
	}
	fmt.Fprintln(w, "It needs about 3 GB for Go's module and build caches.")
}

func build(ctx context.Context, opts BuildOptions, module, dir, flags string, p program) error {
	temp, err := os.MkdirTemp(dir, unfinished)
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	out := filepath.Join(temp, p.name)
	said := &buildOutput{}
	cmd := goCommand(ctx, module, "build", "-v", "-trimpath", "-ldflags", flags, "-o", out, p.pkg)
	cmd.Stderr = said
	stop := showProgress(opts, p.name, said)
	err = cmd.Run()
	stop(err == nil)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said.errors())
	}
	return os.Rename(out, filepath.Join(dir, p.name))
}

// goCommand is the go command in the nested module, for this machine, whatever
// the environment says about other builds.
func goCommand(ctx context.Context, module string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=", "GOARCH=", "GOWORK=off", "GOFLAGS=")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
