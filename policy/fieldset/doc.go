// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package fieldset knows the fields of objects: how a path is written, which
// fields a manager owns, and which fields differ between two documents.
//
// It works on raw JSON (fastjson values) and on the field sets that the API
// server keeps in managedFields; it needs no schema. A list is compared by
// merge key, as a set, or as a whole, as the field sets of its writers show;
// a list that no field set describes is atomic.
package fieldset
