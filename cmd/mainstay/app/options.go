// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"io"

	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/config"
)

// Options of the process.
type Options struct {
	// Config is the operator's configuration. Required.
	Config *config.Config
	// ConfigFile is where it is from, and is followed; empty: it stays as it is.
	ConfigFile string
	// REST reaches the API server. Required.
	REST *rest.Config
	// Version of this binary.
	Version string
	// Ledger takes one JSON line for each decision that matters. Required.
	Ledger io.Writer
	// Log takes the log, one JSON line each. Required.
	Log io.Writer
	// Debug has what is done in detail in the log, too.
	Debug bool
}

func (o *Options) validate() error {
	switch {
	case o.Config == nil:
		return errors.New("app: Options.Config is required")
	case o.REST == nil:
		return errors.New("app: Options.REST is required")
	case o.Ledger == nil:
		return errors.New("app: Options.Ledger is required")
	case o.Log == nil:
		return errors.New("app: Options.Log is required")
	}
	return nil
}
