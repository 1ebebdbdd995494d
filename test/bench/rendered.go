// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// folders is a repository of many folders that are rendered each by itself.
type folders struct {
	what  string
	many  int
	files func(i int) map[string]string
	// changed is what one commit changes, and becomes.
	changed string
	content func(i int) string
}

// overlays have a base outside of the path, a patch and a generator.
func overlays() folders {
	return folders{
		what: "kustomizations", many: 200,
		files: func(i int) map[string]string {
			at := fmt.Sprintf("apps/k%03d/", i)
			return map[string]string{
				at + "kustomization.yaml": fmt.Sprintf("namePrefix: k%03d-\nresources: [../../base, extra.yaml]\npatches: [{path: patch.yaml}]\n"+
					"configMapGenerator: [{name: made, literals: [a=b]}]\n", i),
				at + "extra.yaml":         string(encode(configMap("shop", i))),
				at + "patch.yaml":         `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop"},"spec":{"replicas":3}}`,
				"base/kustomization.yaml": "resources: [web.yaml, settings.yaml]\n",
				"base/web.yaml":           string(encode(deployment("shop", "web", 5))),
				"base/settings.yaml":      string(encode(configMap("shop", 99999))),
			}
		},
		changed: "apps/k007/extra.yaml",
		content: func(i int) string { return string(encode(configMap("shop", 1000+i))) },
	}
}

// releases are charts with values of their own.
func releases() folders {
	return folders{
		what: "charts", many: 50,
		files: func(i int) map[string]string {
			at := fmt.Sprintf("apps/c%03d/", i)
			files := map[string]string{
				at + "Chart.yaml":  "apiVersion: v2\nname: app\nversion: 1.0.0\n",
				at + "values.yaml": "replicas: 1\ncolor: red\n",
			}
			for n := range 5 {
				files[fmt.Sprintf("%stemplates/t%d.yaml", at, n)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-%d\n"+
					"data:\n  replicas: {{ .Values.replicas | quote }}\n  {{- range until 20 }}\n  key-{{ . }}: {{ $.Values.color }}\n  {{- end }}\n", n)
			}
			return files
		},
		changed: "apps/c007/values.yaml",
		content: func(i int) string { return fmt.Sprintf("replicas: %d\ncolor: blue\n", 2+i) },
	}
}

// rerender measures what one changed folder of many costs, beside all of them.
func (b *bench) rerender(f folders) error {
	b.say("rendering %d %s", f.many, f.what)
	repo := filepath.Join(b.dir, f.what)
	if err := b.git(repo, "", "init", "-q", "-b", "main", repo); err != nil {
		return err
	}
	files := map[string]string{}
	for i := range f.many {
		maps.Copy(files, f.files(i))
	}
	if err := b.commitTo(repo, 0, files); err != nil {
		return err
	}
	kept := map[string]source.Seen{}
	whole, err := b.folders(repo, kept, f.many)
	if err != nil {
		return err
	}
	var again times
	for i := range 5 {
		if err := b.commitTo(repo, i+1, map[string]string{f.changed: f.content(i)}); err != nil {
			return err
		}
		took, err := b.folders(repo, kept, 1)
		if err != nil {
			return err
		}
		again = append(again, took)
	}
	b.report.add(row{
		Part: "sync", What: fmt.Sprintf("one changed file in one of %d %s: that one is rendered", f.many, f.what), Result: "p50 " + ms(again.p50()),
		Peer: "all of them: " + ms(whole), Ratio: fmt.Sprintf("%.3f ×", ratio(again.p50(), whole)),
	})
	return nil
}

// folders renders the path apps of a repository's newest commit, but for the
// folders that read what they did, and makes sure how many those are not.
func (b *bench) folders(repo string, kept map[string]source.Seen, want int) (time.Duration, error) {
	local, err := source.OpenLocal(repo)
	if err != nil {
		return 0, err
	}
	_, tree, err := local.Revision("main")
	if err != nil {
		return 0, err
	}
	watched := map[string]*source.Reads{}
	start := time.Now()
	_, err = render.Objects(b.ctx, tree, render.Options{
		Path: "apps", Helm: render.Helm{Namespace: "shop"},
		Roots: func(roots []render.Root) []fs.FS {
			trees := make([]fs.FS, len(roots))
			for i, root := range roots {
				if !kept[root.Folder].In(tree) {
					watched[root.Folder] = source.Watch(tree)
					trees[i] = watched[root.Folder]
				}
			}
			return trees
		},
	})
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	if len(watched) != want {
		return 0, fmt.Errorf("%d folders were rendered, want %d", len(watched), want)
	}
	for folder, reads := range watched {
		kept[folder] = reads.Seen()
	}
	return took, nil
}

// commitTo puts files into the newest commit of a repository's branch main.
func (b *bench) commitTo(repo string, number int, files map[string]string) error {
	var in strings.Builder
	fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Bo <bo@example.org> %d +0000\ndata 1\nC\n", 1_700_000_000+number)
	if number > 0 {
		in.WriteString("from refs/heads/main^0\n")
	}
	for name, text := range files {
		fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", name, len(text), text)
	}
	in.WriteString("\ndone\n")
	return b.git(repo, in.String(), "-C", repo, "fast-import", "--quiet")
}
