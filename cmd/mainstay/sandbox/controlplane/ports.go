// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports to choose from lie below those that the kernel gives to outgoing
// connections, so that no connection takes one between the choice and its use.
const (
	firstPort = 20000
	lastPort  = 29999
)

// FreePort returns wanted if nothing listens there on the loopback address,
// else a free port that is none of taken.
func FreePort(wanted int, taken ...int) (int, error) {
	if wanted != 0 && free(wanted) {
		return wanted, nil
	}
	used := make(map[int]bool, len(taken))
	for _, port := range taken {
		used[port] = true
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if !used[port] && free(port) {
			return port, nil
		}
	}
	return 0, errors.New("find a free loopback port: none of a thousand is")
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
