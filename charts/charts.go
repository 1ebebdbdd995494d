// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package charts

import (
	"bufio"
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const root = "mainstay"

//go:embed all:mainstay
var files embed.FS

// Options says how the chart is rendered.
type Options struct {
	// ReleaseName is Helm's name of the installation. Default: mainstay.
	ReleaseName string
	// Namespace is where Mainstay runs; the chart does not create it. Required.
	Namespace string
	// Values override the chart's values.yaml.
	Values map[string]any
}

// Render returns the chart's objects in an order in which they can be applied:
// definitions, namespaces, then the rest by file. An unknown key in
// Options.Values is an error.
func Render(opts Options) ([]*unstructured.Unstructured, error) {
	if opts.Namespace == "" {
		return nil, errors.New("charts: Options.Namespace is required")
	}
	chrt, err := load()
	if err != nil {
		return nil, fmt.Errorf("load the chart: %w", err)
	}
	release := common.ReleaseOptions{
		Name:      cmp.Or(opts.ReleaseName, root),
		Namespace: opts.Namespace,
		IsInstall: true,
		Revision:  1,
	}
	values, err := util.ToRenderValues(chrt, opts.Values, release, nil)
	if err != nil {
		return nil, fmt.Errorf("check the chart's values: %w", err)
	}
	rendered, err := engine.Render(chrt, values)
	if err != nil {
		return nil, fmt.Errorf("render the chart: %w", err)
	}

	var objects []*unstructured.Unstructured
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if ext := path.Ext(name); ext != ".yaml" {
			continue
		}
		parsed, err := parse(rendered[name])
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
		objects = append(objects, parsed...)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Compare(rank(a), rank(b))
	})
	return objects, nil
}

// load reads the embedded chart.
func load() (*chart.Chart, error) {
	var buffered []*archive.BufferedFile
	err := fs.WalkDir(files, root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		buffered = append(buffered, &archive.BufferedFile{Name: strings.TrimPrefix(name, root+"/"), Data: content})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return loader.LoadFiles(buffered)
}

// parse returns the objects of one rendered file; a document of comments alone
// holds none.
func parse(manifest string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		// Through JSON, so that numbers are int64 as in any other unstructured
		// object.
		content, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(content, []byte("null")) {
			continue
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(content); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}

// rank orders what others need before what needs it.
func rank(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case "CustomResourceDefinition":
		return 0
	case "Namespace":
		return 1
	default:
		return 2
	}
}
