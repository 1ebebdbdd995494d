// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package health says whether live objects are what they are meant to become,
// by the rules of kstatus: a Deployment is healthy when its replicas are
// available, a custom resource when its conditions say so. It is told what the
// watches see and reads nothing itself, so that health costs no API call.
package health
