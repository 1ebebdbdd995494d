// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures Mainstay beside what it is compared with, in one run
// and in turns, and prints the numbers beside the budgets.
//
//	go run ./test/bench [-o json] [-objects 10000]
//
// BENCH=decision, admission, policy, profile or sync measures a part. BENCH=size,
// which is none of the whole, measures the memory of replicas that hold nothing,
// 1,000, 10,000 and -objects objects: with -objects 50000 whether it grows
// linearly. Only ratios of one run are
// worth comparing: the peers are measured at the same time on the same machine.
// It exits with 0 when everything could be measured, whatever the numbers are,
// and leaves nothing running behind.
package main
