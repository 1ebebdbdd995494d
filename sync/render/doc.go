// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

// Package render turns a file tree into the objects that it declares.
//
// A tree is rendered as plain manifests, as a kustomization or as a chart; among
// plain manifests, folders that are one of the other two are rendered each by
// itself. Nothing outside of the tree is read, run or reached. The same tree gives the
// same objects: a chart of which two renderings differ is refused. One that is wrong in any place gives no objects at all but
// an error that names every such place: a document that is not understood is
// never skipped in silence, because what is not declared is pruned.
//
// Of plain manifests, read are *.yaml, *.yml and *.json. Skipped are hidden files and folders,
// folders called testdata, Options.SkipPaths, what a .mainstayignore in the
// file's folder or above lists (in the syntax of .gitignore), and objects with
// the annotation config.kubernetes.io/local-config: "true".
//
// Values come from sigs.k8s.io/yaml, which reads YAML 1.1 as kubectl does; a
// second parse gives positions and never a value. What belongs to the API
// server is left out of an object: status, and of its metadata uid,
// resourceVersion, generation, creationTimestamp, managedFields and selfLink.
// A Secret's stringData is folded into data.
package render
