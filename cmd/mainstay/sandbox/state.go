// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// DefaultDir is the folder of the state where none is named.
const DefaultDir = ".mainstay"

// State says where the parts of a sandbox are.
type State struct {
	// Dir is the folder that everything is in.
	Dir string `json:"dir"`
	// Kubeconfig has the contexts admin, alice and bob.
	Kubeconfig string `json:"kubeconfig"`
	// Repository is the bare git repository that the GitSync follows.
	Repository string `json:"repository"`
	// Logs is the folder of the logs, audit.log of the API server among them.
	Logs string `json:"logs"`
	// Bin is a folder with kubectl and mainstay.
	Bin string `json:"bin"`
	// Ports are the controller's ports on the loopback address.
	Ports Ports `json:"ports"`
}

// Ports are the controller's ports on the loopback address.
type Ports struct {
	Webhook   int `json:"webhook"`
	Metrics   int `json:"metrics"`
	Health    int `json:"health"`
	Decisions int `json:"decisions"`
}

// kubectlCache is the name of the folder where kubectl keeps what the API
// server serves.
const kubectlCache = "kubectl-cache"

// errNone means that there is no sandbox in a folder.
var errNone = errors.New("there is no sandbox")

func newState(dir string) *State {
	return &State{
		Dir:        dir,
		Kubeconfig: filepath.Join(dir, "kubeconfig"),
		Repository: filepath.Join(dir, "repo.git"),
		Logs:       filepath.Join(dir, "logs"),
		Bin:        filepath.Join(dir, "bin"),
	}
}

// Load returns the sandbox in a folder. The error says what to do where there
// is none.
func Load(dir string) (*State, error) {
	dir, err := absolute(dir)
	if err != nil {
		return nil, err
	}
	s, err := load(dir)
	if errors.Is(err, errNone) {
		return nil, fmt.Errorf("%w in %s: start one with mainstay sandbox up", errNone, dir)
	}
	return s, err
}

func absolute(dir string) (string, error) {
	if dir == "" {
		dir = DefaultDir
	}
	return filepath.Abs(dir)
}

// load reads the ports; the paths follow from the folder, which may have been
// moved.
func load(dir string) (*State, error) {
	raw, err := os.ReadFile(stateFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNone
	}
	if err != nil {
		return nil, err
	}
	var stored State
	if err := json.Unmarshal(raw, &stored); err != nil {
		return nil, fmt.Errorf("read %s: %w", stateFile(dir), err)
	}
	s := newState(dir)
	s.Ports = stored.Ports
	return s, nil
}

func stateFile(dir string) string { return filepath.Join(dir, "sandbox.json") }

func (s *State) save() error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(stateFile(s.Dir), append(raw, '\n'))
}

// writeFile replaces a file whole, for its owner alone.
func writeFile(file string, content []byte) error {
	next := file + ".next"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}

// RESTConfig returns how to reach the API server as a user: admin, alice or
// bob. It sets no limit on requests.
func (s *State) RESTConfig(user string) (*rest.Config, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: s.Kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: user, Context: clientcmdapi.Context{}},
	).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the sandbox's kubeconfig: %w", err)
	}
	config.QPS = -1
	return config, nil
}

// Environment returns the variables that make kubectl and git speak to the
// sandbox, as NAME=value. PATH is the given one with Bin before it.
func (s *State) Environment(path string) []string {
	return []string{
		"KUBECONFIG=" + s.Kubeconfig,
		// Else kubectl keeps what the API server serves in ~/.kube.
		"KUBECACHEDIR=" + s.KubectlCache(),
		"MAINSTAY_REPO=" + s.Repository,
		"PATH=" + strings.TrimSuffix(s.Bin+string(os.PathListSeparator)+path, string(os.PathListSeparator)),
	}
}

// KubectlCache is the folder in which kubectl keeps what the API server serves.
func (s *State) KubectlCache() string { return filepath.Join(s.Dir, kubectlCache) }

// entries are the names of everything that a sandbox makes in its folder.
func entries() []string {
	return []string{
		"bin", "cache", "etcd", "keys", kubectlCache, "logs", "repo.git", "repo.git.next", "run",
		"config.yaml", "controller.kubeconfig", "kubeconfig", "lock", "sandbox.json", "state.json", "up.lock",
	}
}

// purge deletes what the sandbox made, and the folder if nothing else is in
// it: --state may name a folder that holds more.
func purge(dir string) error {
	var errs []error
	for _, name := range entries() {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	if left, err := os.ReadDir(dir); err == nil && len(left) == 0 {
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
}
