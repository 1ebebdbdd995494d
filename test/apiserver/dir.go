// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockedDir is a folder whose lock ends with this process, so that a later one
// can tell the folders that nobody uses. Those of crashed tests are large.
type lockedDir struct {
	path string
	lock *os.File
}

const dirPattern = "mainstay-apiserver-"

func newLockedDir() (*lockedDir, error) {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), dirPattern+"*"))
	if err != nil {
		return nil, err
	}
	for _, path := range old {
		if lock, err := lockDir(path, os.O_RDWR); err == nil {
			_ = os.RemoveAll(path)
			lock.Close()
		}
	}
	path, err := os.MkdirTemp("", dirPattern)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	return &lockedDir{path: path, lock: lock}, nil
}

func lockDir(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, "in-use"), flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func (d *lockedDir) remove() error {
	defer d.lock.Close()
	return os.RemoveAll(d.path)
}
