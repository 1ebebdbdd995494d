// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssetsInTheEnvironmentAreUsed(t *testing.T) {
	tests := map[string]struct {
		present []string
		want    string // Part of the error; empty: the assets themselves.
	}{
		"all four are there": {present: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"}},
		"one that cannot be built on its own is missing": {
			present: []string{"etcd", "kubectl"}, want: "kube-apiserver is no program",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("KUBEBUILDER_ASSETS", dir)
			for _, file := range test.present {
				if err := os.WriteFile(filepath.Join(dir, file), nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			said := &bytes.Buffer{}
			got, err := Build(t.Context(), BuildOptions{Progress: said})
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got error %v, want it to say %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(binariesIn(dir), got); diff != "" {
				t.Errorf("binaries (-want +got):\n%s", diff)
			}
			if said.Len() > 0 {
				t.Errorf("said %q, want nothing where nothing is built", said)
			}
		})
	}
}

func TestOutsideACheckoutTheErrorSaysWhatToDo(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	_, err := Build(t.Context(), BuildOptions{Progress: os.Stderr, From: t.TempDir()})
	for _, want := range []string{"not inside a checkout", "KUBEBUILDER_ASSETS"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want it to say %q", err, want)
		}
	}
}

func TestAFailedBuildSaysWhatTheCompilerSaysAndLeavesNoBinary(t *testing.T) {
	dir, module := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{
		"go.mod":  "module broken.example\n\ngo 1.26\n",
		"main.go": "package main\n\nfunc main() { undefinedFunction() }\n",
	} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := build(t.Context(), BuildOptions{Progress: &bytes.Buffer{}}, module, dir, "-s", program{name: "broken", pkg: "."})
	if err == nil || !strings.Contains(err.Error(), "undefined: undefinedFunction") {
		t.Errorf("got error %v, want the compiler's", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTheVersionIsThatOfTheModule(t *testing.T) {
	module, err := findModule("")
	if err != nil {
		t.Fatal(err)
	}
	flags, err := linkerFlags(module)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"version.gitVersion=v1.", "version.gitMajor=1 ", "version.gitMinor="} {
		if !strings.Contains(flags, want) {
			t.Errorf("got flags %q, want %q among them", flags, want)
		}
	}
}
