// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package receive hears the push webhooks of git servers, so that a push is
// looked at before the interval of its GitSyncs is over.
//
// Every replica listens. A request whose signature fits marks the GitSyncs that
// follow what was pushed, in their status, where the leader sees it; nothing of
// the request is applied or trusted further: the repository is asked. GitHub,
// GitLab, Gitea, Forgejo and Bitbucket are understood. Their signatures are
// HMACs, or a token, of the same few lines; the libraries for it know no
// signature of Bitbucket's, and read a whole payload of which three fields are
// needed.
package receive
