// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"fmt"
	"slices"

	"github.com/mainstay-gitops/mainstay/policy"
)

// entriesOf compiles a source and returns its entry rules; none of nothing.
func entriesOf(ctx context.Context, source policy.Source) ([]policy.Entry, error) {
	if len(source.Modules) == 0 {
		return nil, nil
	}
	_, program, err := compiled(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("compile the policies: %w", err)
	}
	return program.Entries(), nil
}

// namesOf are the rules' names, each once.
func namesOf(entries []policy.Entry) []string {
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
