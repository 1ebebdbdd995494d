// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package suspend

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// Example is an annotation as kubectl takes it.
const Example = v1alpha1.SuspendAnnotation + `="1h INC-4711 bad rollout"`

// DefaultMax is the longest suspension where the configuration names none.
const DefaultMax = 24 * time.Hour

// maxReason is the length of a reason in characters.
const maxReason = 200

// Parse reads "<duration> <reason>". The error says what is wrong with it, for
// whoever wrote it.
func Parse(value string, longest time.Duration) (time.Duration, string, error) {
	text, reason, _ := strings.Cut(strings.TrimSpace(value), " ")
	reason = strings.TrimSpace(reason)
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, "", fmt.Errorf("%q is no duration, such as 30m or 2h", text)
	case d <= 0:
		return 0, "", fmt.Errorf("the duration has to be more than zero, is %s", d)
	case d > longest:
		return 0, "", fmt.Errorf("the duration may be at most %s, is %s", longest, d)
	case reason == "":
		return 0, "", errors.New("a reason has to follow the duration")
	case utf8.RuneCountInString(reason) > maxReason:
		return 0, "", fmt.Errorf("the reason may have at most %d characters", maxReason)
	case strings.ContainsFunc(reason, func(r rune) bool { return !unicode.IsPrint(r) }):
		return 0, "", errors.New("the reason has to be one line of plain text")
	}
	return d, reason, nil
}
