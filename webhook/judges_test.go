// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestJudges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := make(judges)
		stuck, done := make(chan struct{}), make(chan struct{})
		j.run(func() { <-stuck })
		synctest.Wait()
		j.run(func() { close(done) })
		<-done // one that is stuck keeps nobody waiting
		close(stuck)
		synctest.Wait()
		select {
		case j <- func() {}:
		default:
			t.Error("no judge waits for the next change")
		}
		time.Sleep(2 * judgeIdle)
		select {
		case j <- func() {}:
			t.Error("a judge waits for ever")
		default:
		}
	})
}
