// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package process

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// ownedAttributes keep the terminal's Ctrl-C from reaching the process before
// its starter. There is no death signal here: who starts an owned process has
// to stop it on a signal.
func ownedAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

var errEnded = errors.New("the process has ended")

// identify returns the identity of a running process.
func identify(pid int) (Identity, error) {
	out, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return Identity{}, errEnded
	}
	state, started, found := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !found || strings.HasPrefix(state, "Z") {
		return Identity{}, errEnded
	}
	return Identity{PID: pid, Started: strings.TrimSpace(started)}, nil
}
