// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/cli"
)

// session is one use of the cluster.
type session struct{ *cli.Session }

func open(f *cli.Flags, cmd *cobra.Command) (*session, error) {
	s, err := f.Open(cmd)
	return &session{s}, err
}

// Result is what -o json prints.
type Result struct {
	// Namespace and Name of the GitSync.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Pending tells that objects wait to be taken over, Released that the
	// GitSync has let its objects go and is gone.
	Pending  bool `json:"pending"`
	Released bool `json:"released"`
	// Commit that was looked at last.
	Commit string `json:"commit,omitempty"`
	// Message says the same to people.
	Message string `json:"message"`
}

// print writes a result, as JSON or its message alone.
func (s *session) print(r Result) error {
	if s.JSON() {
		return s.Encode(r)
	}
	_, err := fmt.Fprintln(s.Out, r.Message)
	return err
}
