// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/source/wire"
)

const (
	// maxLimited bounds how long a server may ask to be left alone.
	maxLimited = time.Hour
	// backoffSteps is after how many failures in a row the pauses grow no more.
	backoffSteps = 10
)

// backoff spares a server that fails: all GitSyncs of a repository wait
// together, each time about twice as long, and not in step with others'.
type backoff struct {
	least, most time.Duration
	failures    int
	until       time.Time
	err         error
}

// waiting returns the failure that is waited for, if any.
func (b *backoff) waiting(now time.Time) error {
	if b.err != nil && now.Before(b.until) {
		return b.err
	}
	return nil
}

// note takes in how a conversation with the server went.
func (b *backoff) note(now time.Time, err error) {
	if err == nil {
		b.failures, b.err = 0, nil
		return
	}
	b.failures++
	pause := min(b.least<<min(b.failures-1, backoffSteps), b.most)
	// Between half and all of it.
	pause = pause/2 + rand.N(pause/2+1) //nolint:gosec // To be out of step, not to be unguessable.
	var status *wire.StatusError
	if errors.As(err, &status) && status.RetryAfter > 0 {
		pause = max(pause, min(status.RetryAfter, maxLimited))
	}
	b.until, b.err = now.Add(pause), err
}
