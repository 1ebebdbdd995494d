// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import "time"

// Hours counts events of the last 24 hours, by whole hours. The zero value has
// counted nothing, and so has nil. It is not safe for concurrent use.
type Hours struct {
	count [24]int32
	hour  [24]int64
}

// Add counts one event.
func (h *Hours) Add(now time.Time) {
	hour := now.Unix() / 3600
	i := hour % 24
	if h.hour[i] != hour {
		h.hour[i], h.count[i] = hour, 0
	}
	h.count[i]++
}

// Sum is the number of events of this hour and the 23 before.
func (h *Hours) Sum(now time.Time) int32 {
	if h == nil {
		return 0
	}
	oldest := now.Unix()/3600 - 23
	var total int32
	for i, hour := range h.hour {
		if hour >= oldest {
			total += h.count[i]
		}
	}
	return total
}
