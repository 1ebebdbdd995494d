// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The folders in the folder of a control plane.
const (
	keysDir    = "keys"
	etcdDir    = "etcd"
	runDir     = "run"
	logsDir    = "logs"
	stateFile  = "state.json"
	lockedFile = "lock"
)

// The names of the users that a control plane knows.
const (
	// Admin is in the group system:masters.
	Admin = "admin"
	// Alice is a person in the group Developers.
	Alice = "alice"
	// Bob is another.
	Bob = "bob"
	// Developers is the group of the people. It has no rights of its own.
	Developers = "developers"

	controllerManagerUser = "system:kube-controller-manager"
)

// Users returns the names of the users that a kubeconfig has contexts for.
func Users() []string { return []string{Admin, Alice, Bob} }

func groupOf(user string) string {
	switch user {
	case Admin:
		return "system:masters"
	case controllerManagerUser:
		return ""
	}
	return Developers
}

// state is what a control plane needs to come back as the same one.
type state struct {
	Ports  ports             `json:"ports"`
	Tokens map[string]string `json:"tokens"`
}

type ports struct {
	APIServer         int `json:"apiserver"`
	Etcd              int `json:"etcd"`
	EtcdPeer          int `json:"etcdPeer"`
	ControllerManager int `json:"controllerManager"`
}

// openState reads the state in dir, or makes one with new keys and tokens.
func openState(dir string) (*state, error) {
	for _, sub := range []string{keysDir, etcdDir, runDir, logsDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	s := &state{}
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err == nil {
		if err := json.Unmarshal(raw, s); err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, stateFile), err)
		}
		return s, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := writeKeys(filepath.Join(dir, keysDir)); err != nil {
		return nil, fmt.Errorf("make keys: %w", err)
	}
	s.Tokens = make(map[string]string)
	var lines strings.Builder
	for _, user := range append(Users(), controllerManagerUser) {
		s.Tokens[user] = rand.Text()
		fmt.Fprintf(&lines, "%s,%s,%s,%q\n", s.Tokens[user], user, user, groupOf(user))
	}
	if err := os.WriteFile(filepath.Join(dir, keysDir, tokensFile), []byte(lines.String()), 0o600); err != nil {
		return nil, err
	}
	return s, s.save(dir)
}

// save writes the state last of all, so that keys without a state are made
// again and a state without keys does not exist.
func (s *state) save(dir string) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	next := filepath.Join(dir, stateFile+".next")
	if err := os.WriteFile(next, append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(dir, stateFile))
}
