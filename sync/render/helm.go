// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
)

const (
	chartFile = "Chart.yaml"
	// maxReleaseName is Helm's: names are made from it.
	maxReleaseName = 53
)

// Helm says how a chart is rendered.
type Helm struct {
	// ReleaseName is .Release.Name. Required.
	ReleaseName string
	// Namespace is .Release.Namespace, and that of objects whose template gives
	// none. Required.
	Namespace string
	// Values go over those of ValuesFiles, and these over the chart's own.
	Values map[string]any
	// ValuesFiles are relative to the chart or, with a leading slash, to the
	// tree's root.
	ValuesFiles []string
	// KubeVersion and APIVersions are the cluster's, for .Capabilities. Empty:
	// those that the library was built with.
	KubeVersion string
	APIVersions []string
	// Undiscovered is why APIVersions are not all that there are. A chart that
	// asks for them is not rendered then: it might leave out what it declares.
	Undiscovered error
	// Ask fills in these three. It is called once, before the first chart is
	// rendered. nil: they are as given.
	Ask func(*Helm) error
}

// helm renders the chart at the root, twice: what differs between the two
// depends on chance, on time or on the cluster, and is refused.
func (r *rendering) helm() error {
	if err := r.ask(); err != nil {
		return err
	}
	h, err := r.loadChart()
	if err != nil || len(r.problems.errs) > 0 {
		return err
	}
	values, err := h.values()
	if err != nil || len(r.problems.errs) > 0 {
		return err
	}
	var passes [2]map[string]string
	for i := range passes {
		passes[i], err = h.pass(i, values)
		if err != nil {
			return h.failed(i, err)
		}
	}
	if h.differ(passes[0], passes[1]); len(r.problems.errs) > 0 {
		return nil
	}
	return h.documents(passes[0])
}

// ask fills in what only the cluster knows.
func (r *rendering) ask() error {
	ask := r.opts.Helm.Ask
	if ask == nil {
		return nil
	}
	r.opts.Helm.Ask = nil
	return ask(&r.opts.Helm)
}

// release is a chart that is being rendered.
type release struct {
	*rendering
	chart *chart.Chart
	// files are where the chart's templates are in the tree, by their names in
	// the rendering; sources are their texts.
	files   map[string]string
	sources map[string]string
}

// values are the chart's, the files' and the spec's, one over the other, and
// everything else that a template sees.
func (h *release) values() (common.Values, error) {
	o := &h.opts.Helm
	switch {
	case o.Namespace == "":
		return nil, errors.New("the chart needs a namespace: set spec.render.helm.namespace or spec.targetNamespace")
	case len(o.ReleaseName) > maxReleaseName:
		return nil, fmt.Errorf("release name %q has more than %d characters: set a shorter spec.render.helm.releaseName", o.ReleaseName, maxReleaseName)
	}
	given, err := h.given()
	if err != nil || len(h.problems.errs) > 0 {
		return nil, err
	}
	if err := chartutil.ProcessDependencies(h.chart, given); err != nil {
		return nil, fmt.Errorf("dependencies of %s: %s", h.root, oneLine(err))
	}
	if err := h.askable(); err != nil {
		return nil, err
	}
	capabilities, err := o.capabilities()
	if err != nil {
		return nil, err
	}
	if want := h.chart.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, capabilities.KubeVersion.Version) {
		h.problems.add(path.Join(h.root, chartFile), h.lineIn(chartFile, "kubeVersion:"), "the chart wants Kubernetes %s, and the cluster has %s", want, capabilities.KubeVersion.Version)
		return nil, nil //nolint:nilnil // a problem was added
	}
	values, err := util.ToRenderValues(h.chart, given, common.ReleaseOptions{
		Name: o.ReleaseName, Namespace: o.Namespace, IsInstall: true, Revision: 1,
	}, capabilities)
	if err != nil {
		h.problems.add(h.schemaFile(), 0, "%s", oneLine(err))
	}
	return values, nil
}

func (h *release) schemaFile() string {
	if len(h.chart.Schema) > 0 {
		return path.Join(h.root, "values.schema.json")
	}
	return path.Join(h.root, "values.yaml")
}

// given are the values of files and spec.
func (h *release) given() (map[string]any, error) {
	given := map[string]any{}
	for _, name := range h.opts.Helm.ValuesFiles {
		file := path.Join(h.root, name)
		if strings.HasPrefix(name, "/") {
			file = clean(name)
		}
		content, err := h.tree.read(file)
		if err != nil {
			if h.tree.ctx.Err() != nil {
				return nil, err
			}
			h.problems.add(file, 0, "%s (spec.render.helm.valuesFiles: relative to the chart, or with a leading slash to the repository's root)", reason(err))
			continue
		}
		values, ok := h.parseValues(file, content)
		if ok {
			given = merge(given, values)
		}
	}
	return merge(given, h.opts.Helm.Values), nil
}

// merge puts the second map's values over the first's.
func merge(under, over map[string]any) map[string]any {
	out := maps.Clone(under)
	for key, value := range over {
		if m, ok := value.(map[string]any); ok {
			if below, ok := out[key].(map[string]any); ok {
				out[key] = merge(below, m)
				continue
			}
		}
		out[key] = value
	}
	return out
}

// askable is an error where a template asks which APIs there are, and that is
// not known.
func (h *release) askable() error {
	if h.opts.Helm.Undiscovered == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(h.sources)) {
		if strings.Contains(h.sources[name], "APIVersions") {
			return fmt.Errorf("%s asks which APIs the cluster has: %w", h.files[name], h.opts.Helm.Undiscovered)
		}
	}
	return nil
}

// capabilities are the cluster's.
func (o *Helm) capabilities() (*common.Capabilities, error) {
	c := common.DefaultCapabilities.Copy()
	if o.KubeVersion != "" {
		version, err := common.ParseKubeVersion(o.KubeVersion)
		if err != nil {
			return nil, fmt.Errorf("version %q of the cluster: %w", o.KubeVersion, err)
		}
		c.KubeVersion = *version
	}
	if o.APIVersions != nil {
		c.APIVersions = slices.Sorted(slices.Values(o.APIVersions))
	}
	return c, nil
}

// pass renders every template. The engine knows no deadline, so a rendering
// that has none is left behind when the context ends.
func (h *release) pass(number int, values common.Values) (map[string]string, error) {
	chance := &chance{pass: number}
	e := engine.Engine{CustomTemplateFuncs: chance.functions()}
	type result struct {
		rendered map[string]string
		err      error
	}
	done := make(chan result, 1)
	go func() {
		rendered, err := e.RenderWithContext(h.tree.ctx, h.chart, values)
		done <- result{rendered, err}
	}()
	select {
	case <-h.tree.ctx.Done():
		return nil, fmt.Errorf("templates of %s are not done: %w", h.root, h.tree.ctx.Err())
	case r := <-done:
		return r.rendered, r.err
	}
}

// documents are those of the crds folders and of the templates, in the order of
// their names.
func (h *release) documents(rendered map[string]string) error {
	for _, crd := range h.chart.CRDObjects() {
		file := cmp.Or(h.files[crd.Filename], crd.Filename)
		for _, doc := range documents(file, crd.File.Data, h.problems) {
			if err := h.add(doc); err != nil {
				return err
			}
		}
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		text := rendered[name]
		if total += len(text); total > maxTotal {
			return fmt.Errorf("the templates of %s make more than %d bytes", h.root, maxTotal)
		}
		if strings.HasSuffix(name, "NOTES.txt") || strings.TrimSpace(text) == "" {
			continue
		}
		if err := h.manifest(name, text); err != nil {
			return err
		}
	}
	return nil
}

// manifest takes the objects of one rendered template.
func (h *release) manifest(name, text string) error {
	file := cmp.Or(h.files[name], name)
	lines := align(h.sources[name], text)
	found := &problems{}
	for _, doc := range documents(file, []byte(text), found) {
		doc.made = lines
		if !h.applied(doc) {
			continue
		}
		before := len(h.objects)
		if err := h.add(doc); err != nil {
			return err
		}
		for i := before; i < len(h.objects); i++ {
			h.objects[i].Default = h.opts.Helm.Namespace
		}
	}
	for _, p := range found.errs {
		// Their lines are those of the rendered text.
		h.problems.add(file, lines.line(p.Line), "renders to what %s", p.Message)
	}
	return nil
}

// hookAnnotation says when Helm applies an object.
const hookAnnotation = "helm.sh/hook"

// applied tells that an object is part of what is declared. Hooks around
// installing and upgrading are, like all others; those of tests, of deleting
// and of rolling back have no moment here.
func (h *release) applied(doc *document) bool {
	hooks := text(doc.value, "metadata", "annotations", hookAnnotation)
	if hooks == "" {
		return true
	}
	for hook := range strings.SplitSeq(hooks, ",") {
		switch strings.TrimSpace(hook) {
		case "crd-install", "pre-install", "post-install", "pre-upgrade", "post-upgrade":
			return true
		case "test", "test-success", "test-failure", "pre-delete", "post-delete", "pre-rollback", "post-rollback":
		default:
			file, line := doc.place("metadata", "annotations", hookAnnotation)
			h.problems.add(file, line, "%s %q is unknown", hookAnnotation, strings.TrimSpace(hook))
			return false
		}
	}
	return false
}
