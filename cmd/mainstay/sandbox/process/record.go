// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/json"
	"fmt"
	"os"
)

// Identity names one process for good: ids are used again, the pair is not.
type Identity struct {
	PID     int    `json:"pid"`
	Started string `json:"started"`
}

type record struct {
	Identity
	Command []string `json:"command"`
}

func readRecord(file string) (record, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return record{}, fmt.Errorf("read %s: %w", file, err)
	}
	if r.PID <= 1 {
		return record{}, fmt.Errorf("read %s: %d is not the id of a process that could be ours", file, r.PID)
	}
	return r, nil
}

// writeRecord writes the record whole or not at all.
func writeRecord(file string, r record) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	next := file + ".next"
	if err := os.WriteFile(next, append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}
