// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package verify tells who signed a commit or a tag.
//
// It reads OpenPGP and SSH signatures as git writes them, and knows the keys of
// one Secret. What is not signed, signed by somebody else, altered, or signed
// with a key that has expired, is revoked or is not for git, is an error that
// says which. A key has to be valid now as well as at the time that the commit
// claims: whoever holds an expired key can write any date.
package verify
