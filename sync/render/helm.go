// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import "errors"

// helm is yet to come.
func (*rendering) helm() error {
	return errors.New("charts are not rendered by this version: commit what \"helm template\" writes")
}
