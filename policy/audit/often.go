// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"maps"
	"sync"
	"time"
)

const (
	// oftenRefused is how often an account may be refused within an hour before
	// that is unusual.
	oftenRefused = 20
	// maxAccounts is how many accounts are counted; what comes on top is not.
	maxAccounts = 4096
	tenth       = 6 * time.Minute
)

// often counts the refusals of each account in the last hour, by tenths of it.
// Names are no labels of a metric, so only their number is one. It is safe for
// concurrent use.
type often struct {
	clock func() time.Time

	mu       sync.Mutex
	accounts map[string]*tenths
}

type tenths struct {
	count [10]int
	slot  [10]int64
}

func newOften(clock func() time.Time) *often {
	return &often{clock: clock, accounts: map[string]*tenths{}}
}

func (o *often) refused(account string) {
	slot := o.clock().UnixNano() / int64(tenth)
	o.mu.Lock()
	defer o.mu.Unlock()
	one := o.accounts[account]
	if one == nil {
		if len(o.accounts) >= maxAccounts {
			maps.DeleteFunc(o.accounts, func(_ string, one *tenths) bool { return one.sum(slot) == 0 })
		}
		if len(o.accounts) >= maxAccounts {
			return
		}
		one = new(tenths)
		o.accounts[account] = one
	}
	i := slot % 10
	if one.slot[i] != slot {
		one.slot[i], one.count[i] = slot, 0
	}
	one.count[i]++
}

// number is how many accounts were refused unusually often.
func (o *often) number() float64 {
	slot := o.clock().UnixNano() / int64(tenth)
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, one := range o.accounts {
		if one.sum(slot) > oftenRefused {
			n++
		}
	}
	return float64(n)
}

func (t *tenths) sum(slot int64) int {
	total := 0
	for i, at := range t.slot {
		if at > slot-10 {
			total += t.count[i]
		}
	}
	return total
}
