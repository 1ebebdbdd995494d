// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/ignore"
	"sigs.k8s.io/yaml"
)

// maxChart bounds the files of one chart, which templates can read.
const maxChart = 64 * 1024 * 1024

// loadChart reads the chart at the root as Helm does.
func (r *rendering) loadChart() (*release, error) {
	h := &release{rendering: r, files: map[string]string{}, sources: map[string]string{}}
	files, err := h.chartFiles()
	if err != nil || len(r.problems.errs) > 0 {
		return h, err
	}
	if !slices.ContainsFunc(files, func(f *archive.BufferedFile) bool { return f.Name == chartFile }) {
		r.problems.add(r.root, 0, "has no %s: write one, or set spec.render.type to Plain or Kustomize", chartFile)
		return h, nil
	}
	h.chart, err = loader.LoadFiles(files)
	if err != nil {
		r.problems.add(path.Join(r.root, chartFile), 0, "%s", oneLine(err))
		return h, nil
	}
	if h.chart.Metadata.Type == "library" {
		r.problems.add(path.Join(r.root, chartFile), h.lineIn(chartFile, "type:"), "a library chart declares nothing by itself: follow a chart that uses it")
	}
	h.vendored()
	h.locate(h.chart, r.root)
	return h, nil
}

// chartFiles are the files of the chart, without what .helmignore lists.
func (h *release) chartFiles() ([]*archive.BufferedFile, error) {
	rules := ignore.Empty()
	if content, err := h.tree.read(path.Join(h.root, ignore.HelmIgnore)); err == nil {
		if rules, err = ignore.Parse(bytes.NewReader(content)); err != nil {
			h.problems.add(path.Join(h.root, ignore.HelmIgnore), 0, "%s", oneLine(err))
			return nil, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		h.problems.add(path.Join(h.root, ignore.HelmIgnore), 0, "%s", reason(err))
		return nil, nil
	}
	rules.AddDefaults()
	var files []*archive.BufferedFile
	total := 0
	err := fs.WalkDir(h.tree.fsys, h.root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == h.root {
			return err
		}
		relative := strings.TrimPrefix(name, h.root+"/")
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if rules.Ignore(relative, info) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		content, err := h.tree.read(name)
		if err != nil {
			if h.tree.ctx.Err() != nil {
				return err
			}
			h.problems.add(name, 0, "%s (list it in %s if the chart does not need it)", reason(err), ignore.HelmIgnore)
			return nil
		}
		if total += len(content); total > maxChart {
			return fmt.Errorf("chart %s has more than %d bytes: list what it does not need in %s", h.root, maxChart, ignore.HelmIgnore)
		}
		files = append(files, &archive.BufferedFile{Name: relative, Data: content})
		return nil
	})
	return files, err
}

// vendored checks that every dependency is in charts/: nothing is downloaded.
func (h *release) vendored() {
	for _, want := range h.chart.Metadata.Dependencies {
		if want == nil {
			continue
		}
		if !slices.ContainsFunc(h.chart.Dependencies(), func(c *chart.Chart) bool { return c.Name() == want.Name }) {
			h.problems.add(path.Join(h.root, chartFile), h.lineIn(chartFile, "name: "+want.Name),
				"dependency %s is not in charts/, and nothing is downloaded: run \"helm dependency build %s\" and commit charts/", want.Name, h.root)
		}
	}
}

// locate notes where the templates of a chart and of its dependencies are. Their
// names begin with the chart's, which may be called otherwise than its folder.
func (h *release) locate(c *chart.Chart, folder string) {
	for _, f := range c.Templates {
		h.note(path.Join(c.ChartFullPath(), f.Name), path.Join(folder, f.Name), f.Data)
	}
	for _, f := range c.Files {
		h.note(path.Join(c.ChartFullPath(), f.Name), path.Join(folder, f.Name), f.Data)
	}
	for _, dependency := range c.Dependencies() {
		h.locate(dependency, h.folderOf(dependency, path.Join(folder, "charts")))
	}
	for _, want := range c.Metadata.Dependencies {
		if want == nil || want.Alias == "" {
			continue
		}
		for _, dependency := range c.Dependencies() {
			if dependency.Name() == want.Name {
				h.aliased(c.ChartFullPath()+"/charts/", dependency.Name(), want.Alias)
			}
		}
	}
}

func (h *release) note(name, file string, text []byte) {
	h.files[name], h.sources[name] = file, string(text)
}

// aliased notes the templates of a dependency once more under its other name.
func (h *release) aliased(parent, name, alias string) {
	for known, file := range h.files {
		if rest, ok := strings.CutPrefix(known, parent+name+"/"); ok {
			h.note(parent+alias+"/"+rest, file, []byte(h.sources[known]))
		}
	}
}

// folderOf is the folder, or the archive, below charts/ that a dependency was
// read from.
func (h *release) folderOf(dependency *chart.Chart, charts string) string {
	entries, err := fs.ReadDir(h.tree.fsys, charts)
	if err != nil {
		return path.Join(charts, dependency.Name())
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			if entry.Name() == dependency.Name()+"-"+dependency.Metadata.Version+".tgz" {
				return path.Join(charts, entry.Name())
			}
			continue
		}
		content, err := h.tree.read(path.Join(charts, entry.Name(), chartFile))
		if err != nil {
			continue
		}
		var metadata chart.Metadata
		if yaml.Unmarshal(content, &metadata) == nil && metadata.Name == dependency.Name() && metadata.Version == dependency.Metadata.Version {
			return path.Join(charts, entry.Name())
		}
	}
	return path.Join(charts, dependency.Name())
}

// parseValues reads a file of values.
func (h *release) parseValues(file string, content []byte) (map[string]any, bool) {
	values := map[string]any{}
	for _, d := range splitYAML(file, content) {
		var value map[string]any
		if err := yaml.Unmarshal(d.text, &value); err != nil {
			d.addParseError(err, h.problems)
			return nil, false
		}
		values = merge(values, value)
	}
	return values, true
}

// lineIn is the first line of a file of the chart that has a text; 0 if none.
func (h *release) lineIn(name, text string) int {
	content, err := h.tree.read(path.Join(h.root, name))
	if err != nil {
		return 0
	}
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		if strings.Contains(line, text) {
			return number
		}
	}
	return 0
}
