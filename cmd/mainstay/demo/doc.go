// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package demo tells what Mainstay does, as a story against a real API server:
// every step runs the commands that a person would run, shows what was
// answered, and says how long it took.
//
// A step that does not do what the story says is an error that names the step
// and what was expected. The story plays in a sandbox of its own, which is made
// new before and is gone after, also where the story fails or is interrupted.
package demo
