// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/source"
)

// landscape is a repository with a bit of everything, by file.
func landscape() map[string]string {
	cm := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {key: \"0\"}\n"
	}
	files := map[string]string{
		"README.md": "0", "apps/p0.yaml": cm("p0"), "apps/p1.yaml": cm("p1") + "---\n" + cm("p1-more"), "apps/deep/p2.yaml": cm("p2"),
		"base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": cm("web"),
		"part/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [part.yaml]\n", "part/part.yaml": cm("part"),
		"files/a.txt": "0", "files/patch.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {patched: \"0\"}\n",
		"values/all.yaml":            "color: red\n",
		"apps/k0/kustomization.yaml": "namePrefix: k0-\nresources: [../../base]\n",
		"apps/k1/kustomization.yaml": "namePrefix: k1-\nresources: [../../base, own.yaml]\ncomponents: [../../part]\n", "apps/k1/own.yaml": cm("own"),
		"apps/k2/kustomization.yaml": "namePrefix: k2-\nresources: [../../base]\npatches: [{path: ../../files/patch.yaml}]\n" +
			"configMapGenerator: [{name: made, files: [../../files/a.txt]}]\n",
		"apps/c0/Chart.yaml":  "apiVersion: v2\nname: c0\nversion: 1.0.0\ndependencies: [{name: dep, version: 1.0.0, repository: https://charts.example.org}]\n",
		"apps/c0/values.yaml": "size: 0\n", "apps/c0/files/a.txt": "0",
		"apps/c0/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}\"}\ndata:\n  size: \"{{ .Values.size }}\"\n  color: {{ .Values.color }}\n" +
			"  files: |\n    {{- range $n, $c := .Files.Glob \"files/*\" }}\n    {{ $n }}={{ $c | toString }}\n    {{- end }}\n",
		"apps/c0/crds/w.yaml":           "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.org}\n",
		"apps/c0/charts/dep/Chart.yaml": "apiVersion: v2\nname: dep\nversion: 1.0.0\n", "apps/c0/charts/dep/templates/d.yaml": cm("dep"),
		"apps/c1/Chart.yaml": "apiVersion: v2\nname: c1\nversion: 1.0.0\n", "apps/c1/templates/a.yaml": cm("c1"),
	}
	return files
}

// change is what people do to it: n, another number each time, is put where it
// can be told.
type change = func(files map[string]string, n string)

// changes are those that render, and mistakes, which are taken back.
func changes() (good, mistakes []change) {
	number := regexp.MustCompile(`"[0-9]+"`)
	value := func(names ...string) change {
		return func(files map[string]string, n string) {
			for _, name := range names {
				if text, ok := files[name]; ok {
					files[name] = number.ReplaceAllString(text, `"`+n+`"`) + "# " + n + "\n"
				}
			}
		}
	}
	set := func(name, text string) change {
		return func(files map[string]string, n string) { files[name] = strings.ReplaceAll(text, "N", n) }
	}
	// toggle brings a file, or takes it away.
	toggle := func(name, text string) change {
		return func(files map[string]string, _ string) {
			if _, ok := files[name]; ok {
				delete(files, name)
				return
			}
			files[name] = text
		}
	}
	move := func(from, to string) change {
		return func(files map[string]string, _ string) {
			if _, ok := files[from]; !ok {
				from, to = to, from
			}
			if text, ok := files[from]; ok {
				delete(files, from)
				files[to] = text
			}
		}
	}
	cm := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n"
	good = []change{
		set("README.md", "N"), value("apps/p0.yaml"), value("apps/p1.yaml"), value("apps/deep/p2.yaml"),
		toggle("apps/deep/p3.yaml", strings.ReplaceAll(cm, "NAME", "p3")), move("apps/p0.yaml", "apps/q0.yaml"),
		value("base/web.yaml"), value("part/part.yaml"), value("apps/k1/own.yaml"), value("files/patch.yaml"),
		set("files/a.txt", "N"), set("values/all.yaml", "color: cN\n"), set("apps/c0/values.yaml", "size: N\n"),
		set("apps/k0/kustomization.yaml", "namePrefix: kN-\nresources: [../../base]\n"),
		set("base/kustomization.yaml", "resources: [web.yaml]\ncommonAnnotations: {n: \"N\"}\n"),
		func(files map[string]string, _ string) {
			files["base/kustomization.yaml"], files["base/more.yaml"] = "resources: [web.yaml, more.yaml]\n", strings.ReplaceAll(cm, "NAME", "more")
		},
		toggle("apps/c0/files/b.txt", "b"), toggle("apps/c0/.helmignore", "files/b.txt\n"), value("apps/c0/charts/dep/templates/d.yaml"),
		value("apps/c1/templates/a.yaml"), toggle("apps/c1/templates/b.yaml", strings.ReplaceAll(cm, "NAME", "b")),
		toggle("apps/c1/values.yaml", "a: 1\n"), value("apps/c0/crds/w.yaml"),
		toggle("apps/k9/kustomization.yaml", "namePrefix: k9-\nresources: [../../base]\n"), move("apps/k1/kustomization.yaml", "apps/k1/kustomization.yml"),
		toggle("apps/.mainstayignore", "k2/\n"), toggle("apps/deep/.mainstayignore", "p2.yaml\n"), toggle("apps/k2/Chart.yaml", "apiVersion: v2\nname: k2\nversion: 1.0.0\n"),
	}
	mistakes = []change{
		toggle("apps/again.yaml", strings.ReplaceAll(cm, "NAME", "p1")), toggle("apps/broken.yaml", "a: [\n"), toggle("base/web.yaml", ""),
		// A base within the path; and one that is refused from now on.
		set("apps/k0/kustomization.yaml", "namePrefix: k0-\nresources: [../k1]\n"),
		func(files map[string]string, _ string) {
			files["part/kustomization.yaml"], files["apps/inner/kustomization.yaml"] = files["part/kustomization.yaml"]+"components: [../apps/inner]\n", "kind: Component\n"
		},
		// And for once everything is one kustomization.
		toggle("apps/kustomization.yaml", "resources: [p1.yaml, k1]\n"),
	}
	return good, mistakes
}

// history makes a repository of commits that each have some random changes, and
// returns their trees.
func history(t *testing.T, seed uint64, commits int) []fs.FS {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test that can be repeated
	dir := t.TempDir()
	git := func(in string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
		cmd.Stdin = strings.NewReader(in)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("", "init", "-q", "-b", "main")
	state := landscape()
	good, mistakes := changes()
	var in bytes.Buffer
	for n := range commits {
		for range random.IntN(2) + min(n, 1) {
			good[random.IntN(len(good))](state, fmt.Sprint(n+100))
		}
		files := maps.Clone(state)
		if random.IntN(8) == 0 {
			mistakes[random.IntN(len(mistakes))](files, "")
		}
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Bo <bo@shop.example> %d +0000\ndata 1\nC\ndeleteall\n", 1_700_000_000+n)
		for _, name := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", name, len(files[name]), files[name])
		}
	}
	git(in.String(), "fast-import", "--quiet")
	local, err := source.OpenLocal(dir)
	must(t, err)
	trees := make([]fs.FS, commits)
	for i := range trees {
		_, trees[i], err = local.Revision(fmt.Sprintf("main~%d", commits-1-i))
		must(t, err)
	}
	return trees
}

// asText is a rendered object with all that is known of it.
func asText(t *testing.T, o *render.Object) string {
	t.Helper()
	text, err := json.Marshal(o.Object)
	must(t, err)
	return fmt.Sprintf("%s %s:%d default %q of %v, text %d\n%s%s", o.ID, o.File, o.Line, o.Default, o.Root, o.Text(), text, o.Lines())
}

// TestWhatIsRenderedAgainIsWhatAWholeRenderingGives renders every commit of
// random histories as a whole, and by what has changed since the one before.
func TestWhatIsRenderedAgainIsWhatAWholeRenderingGives(t *testing.T) {
	t.Parallel()
	options := render.Options{
		Path: "apps", Helm: render.Helm{ReleaseName: "x", Namespace: "shop", ValuesFiles: []string{"/values/all.yaml"}},
	}
	kept, anew, failed := 0, 0, 0
	for seed := range uint64(2) {
		// held is what the last rendering gave, by file or folder; nil where the
		// next one is whole.
		var held map[string][]string
		var seen source.Seen
		var before roots
		for n, tree := range history(t, seed, 30) {
			var whole []string
			objects, wholeErr := render.Objects(t.Context(), tree, options)
			for i := range objects {
				whole = append(whole, asText(t, &objects[i]))
			}
			reads := source.Watch(tree)
			next := map[string][]string{}
			r := &rerender{tree: tree, before: before, stays: func(*root) bool { return true }}
			o := options
			o.Roots = r.choose
			o.Known = func(file string) bool {
				if held == nil || !reads.Same(file, seen) {
					return false
				}
				next[file] = held[file]
				return true
			}
			kind, err := render.TypeOf(reads, o)
			must(t, err)
			objects, err = render.Objects(t.Context(), reads, o)
			for i := range objects {
				at := objects[i].Root.Folder
				if objects[i].Root.Type == v1alpha1.RenderPlain {
					at = objects[i].File
				}
				next[at] = append(next[at], asText(t, &objects[i]))
			}
			for _, one := range r.kept {
				next[one.Folder] = held[one.Folder]
			}
			var parts []string
			for _, list := range next {
				parts = append(parts, list...)
			}
			if err == nil && twice(parts) {
				err = fmt.Errorf("an object is there twice") // which the attempt finds
			}
			if (err == nil) != (wholeErr == nil) {
				t.Fatalf("seed %d, commit %d: by parts %v, as a whole %v", seed, n, err, wholeErr)
			}
			if err != nil || kind != v1alpha1.RenderPlain {
				held, seen, before = nil, nil, nil
				failed++
				continue
			}
			slices.Sort(whole)
			slices.Sort(parts)
			if diff := cmp.Diff(whole, parts); diff != "" {
				t.Fatalf("seed %d, commit %d (-whole +by parts):\n%s", seed, n, diff)
			}
			kept, anew = kept+len(r.kept), anew+len(r.now)-len(r.kept)
			held, seen, before = next, reads.Seen(), r.done()
		}
	}
	if kept < 60 || anew < 20 || failed < 5 {
		t.Errorf("%d folders were kept, %d rendered again, %d commits failed: that tries little", kept, anew, failed)
	}
}

// twice tells that an object is there twice.
func twice(objects []string) bool {
	seen := map[string]bool{}
	for _, o := range objects {
		id, _, _ := strings.Cut(o, ":")
		id = id[:strings.LastIndex(id, " ")]
		if seen[id] {
			return true
		}
		seen[id] = true
	}
	return false
}

func TestOnlyFoldersThatChangedAreRendered(t *testing.T) {
	s := newTheatre(t)
	s.push("base/kustomization.yaml", "resources: [cm.yaml]\n")
	s.push("base/cm.yaml", configMap("settings", "one"))
	s.push("apps/blog/kustomization.yaml", "namePrefix: blog-\nresources: [../../base]\n")
	s.push("apps/shop/kustomization.yaml", "namePrefix: shop-\nresources: [../../base, own.yaml]\n")
	s.push("apps/shop/own.yaml", configMap("own", "one"))
	s.push("apps/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n")
	s.push("apps/web/values.yaml", "key: one\n")
	s.push("apps/web/templates/cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}\"}\ndata: {key: \"{{ .Values.key }}\"}\n")
	s.push("apps/plain.yaml", configMap("plain", "one"))
	s.edit(func(gs *v1alpha1.GitSync) {
		gs.Spec.Source.Path = "apps"
		gs.Spec.Render.Helm = &v1alpha1.Helm{Namespace: s.sync.Namespace}
	})
	p := s.loop.pass(s.sync)
	// renders looks once more, and wants so many folders rendered and files parsed,
	// and what the objects say.
	renders := func(t *testing.T, folders, files int, want map[string]string) {
		t.Helper()
		s.synced()
		if p.rendered.made != folders || p.rendered.parsed != files {
			t.Errorf("%d folders were rendered and %d files parsed, want %d and %d", p.rendered.made, p.rendered.parsed, folders, files)
		}
		have := map[string]string{}
		for id := range s.loop.Index.Entries(s.sync) {
			have[id.Name] = s.configMap(id.Name).Data["key"]
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("held (-want +have):\n%s", diff)
		}
	}
	want := map[string]string{"blog-settings": "one", "shop-settings": "one", "shop-own": "one", "web": "one", "plain": "one"}
	t.Run("of the first commit all", func(t *testing.T) { renders(t, 3, 1, want) })
	t.Run("then the one with the file that changed", func(t *testing.T) {
		s.push("apps/shop/own.yaml", configMap("own", "two"))
		want["shop-own"] = "two"
		renders(t, 1, 0, want)
	})
	t.Run("a chart", func(t *testing.T) {
		s.push("apps/web/values.yaml", "key: two\n")
		want["web"] = "two"
		renders(t, 1, 0, want)
	})
	t.Run("both that have a base outside of the path", func(t *testing.T) {
		s.push("base/cm.yaml", configMap("settings", "two"))
		want["blog-settings"], want["shop-settings"] = "two", "two"
		renders(t, 2, 0, want)
	})
	t.Run("none for a manifest beside them", func(t *testing.T) {
		s.push("apps/plain.yaml", configMap("plain", "two"))
		want["plain"] = "two"
		renders(t, 0, 1, want)
	})
	t.Run("nothing at all for a file that nobody reads", func(t *testing.T) {
		before := p.rendered.commit
		s.push("base/unread.yaml", "x")
		s.synced()
		if p.rendered.commit != before {
			t.Error("it was rendered")
		}
	})
	t.Run("one that comes, and one that goes with its objects", func(t *testing.T) {
		s.push("apps/new/kustomization.yaml", "namePrefix: new-\nresources: [../../base]\n")
		want["new-settings"] = "two"
		renders(t, 1, 0, want)
		s.push("apps/blog/kustomization.yaml", "")
		delete(want, "blog-settings")
		renders(t, 0, 0, want)
	})
	t.Run("an object that two of them have is declared twice", func(t *testing.T) {
		s.push("apps/new/kustomization.yaml", "namePrefix: shop-\nresources: [../../base]\n")
		s.fails("RenderFailed", "shop-settings is declared twice")
		if _, ok := s.loop.Index.Entries(s.sync)[ownership.ID{Kind: "ConfigMap", Namespace: s.sync.Namespace, Name: "new-settings"}]; !ok {
			t.Error("what was applied is no longer held")
		}
		s.push("apps/new/kustomization.yaml", "namePrefix: new-\nresources: [../../base]\n")
		p.notBefore = p.notBefore.AddDate(-1, 0, 0)
		renders(t, 3, 1, want)
	})
	t.Run("one that becomes part of another is refused", func(*testing.T) {
		s.push("apps/shop/kustomization.yaml", "namePrefix: shop-\nresources: [../new, own.yaml]\n")
		s.fails("RenderFailed", "apps/new/kustomization.yaml: is part of apps/shop", "list new/ in apps/.mainstayignore")
	})
}
