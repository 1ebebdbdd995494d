// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package watch turns the API server's watches into events about objects that
// carry the ownership label.
//
// It keeps no object: each is handed on as the raw JSON that came over the
// wire, so that ten thousand held objects cost no memory here and no decoding
// before they are compared. client-go's Reflector does the listing, watching,
// resuming and backing off.
package watch
