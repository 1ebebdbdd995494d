// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import "time"

// judges are goroutines that wait for the next change to be judged. Judging
// takes a deep stack, and to grow a new one costs a third of the judging itself.
type judges chan func()

// judgeIdle is how long a judge waits for the next change.
const judgeIdle = 10 * time.Second

// run starts f, on a judge that waits or on a new one.
func (j judges) run(f func()) {
	select {
	case j <- f:
	default:
		go j.work(f)
	}
}

func (j judges) work(f func()) {
	f()
	idle := time.NewTimer(judgeIdle)
	defer idle.Stop()
	for {
		select {
		case f = <-j:
		case <-idle.C:
			return
		}
		f()
		idle.Reset(judgeIdle)
	}
}
