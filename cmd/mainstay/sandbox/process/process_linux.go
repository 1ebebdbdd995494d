// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// ownedAttributes make the kernel kill the process when its starter ends, and
// keep the terminal's Ctrl-C from reaching it before its starter.
func ownedAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

var errEnded = errors.New("the process has ended")

// identify returns the identity of a running process. The time it started is
// counted from the machine's start, so the identity names that, too.
func identify(pid int) (Identity, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Identity{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, err
	}
	// The second field is the program's name in parentheses and may hold
	// anything; what follows the last one is regular: state is field 3, the
	// start time field 22.
	_, rest, found := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 {
		return Identity{}, fmt.Errorf("read /proc/%s/stat: unknown format", strconv.Itoa(pid))
	}
	// A process that was killed is a zombie as soon as its first thread has
	// ended; while others have not (field 20), its ports and locks are taken.
	if threads := fields[17]; fields[0] == "X" || fields[0] == "Z" && (threads == "0" || threads == "1") {
		return Identity{}, errEnded
	}
	return Identity{PID: pid, Started: strings.TrimSpace(string(boot)) + "/" + fields[19]}, nil
}
