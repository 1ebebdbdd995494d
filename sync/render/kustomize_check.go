// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
)

// check looks through the kustomization in a folder and those that it names,
// for what can be said better, and with its line, before Kustomize tries it.
// What is refused for safety is refused in ReadFile as well, by parse.
func (k *kustomization) check(folder string) error {
	if k.files[folder] != "" {
		return nil
	}
	file := k.find(folder)
	if file == "" {
		return nil
	}
	k.files[folder] = file
	content, err := k.tree.read(file)
	if err != nil {
		return err
	}
	if err := checkAliases(content); err != nil {
		k.problems.add(file, 0, "%s", err)
		return nil
	}
	kust := k.parse(file, content)
	if kust == nil {
		return nil
	}
	//nolint:staticcheck // old kustomizations have bases
	for _, name := range slices.Concat(kust.Resources, kust.Bases, kust.Components) {
		if err := k.checkEntry(file, folder, name); err != nil {
			return err
		}
	}
	for _, name := range pathsOf(kust) {
		if target := path.Join(folder, name); !k.Exists(target) {
			k.problems.add(file, k.lineOf(file, name), "%s does not exist in the repository", name)
		}
	}
	return nil
}

// find is the kustomization file in a folder.
func (k *kustomization) find(folder string) string {
	var found []string
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		_, err := fs.Stat(k.tree.fsys, path.Join(folder, name))
		switch {
		case err == nil:
			found = append(found, path.Join(folder, name))
		case !errors.Is(err, fs.ErrNotExist):
			k.problems.add(path.Join(folder, name), 0, "%s", reason(err))
		}
	}
	switch len(found) {
	case 0:
		if len(k.problems.errs) == 0 {
			k.problems.add(folder, 0, "has no kustomization.yaml: write one, or set spec.render.type to Plain or Helm")
		}
		return ""
	case 1:
		return found[0]
	default:
		k.problems.add(found[1], 0, "is one kustomization file too many in its folder: %s is there as well", found[0])
		return ""
	}
}

// checkEntry follows one entry of resources, bases or components.
func (k *kustomization) checkEntry(file, folder, name string) error {
	if remote(name) {
		return nil // parse has said so
	}
	target := path.Join(folder, name)
	line := k.lineOf(file, name)
	if !fs.ValidPath(target) {
		k.problems.add(file, line, "%s leads out of the repository", name)
		return nil
	}
	info, err := fs.Stat(k.tree.fsys, target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.problems.add(file, line, "%s does not exist in the repository", name)
	case err != nil:
		k.problems.add(file, line, "%s: %s", name, reason(err))
	case info.IsDir():
		before := len(k.problems.errs)
		if err := k.check(target); err != nil {
			return err
		}
		if k.files[target] == "" && len(k.problems.errs) == before {
			k.problems.add(file, line, "%s has no kustomization.yaml", name)
		}
	default:
		return k.checkManifests(target)
	}
	return nil
}

// checkManifests parses a file of resources.
func (k *kustomization) checkManifests(file string) error {
	if _, known := k.docs[file]; known {
		return nil
	}
	docs, err := k.tree.documents(file, k.problems)
	if err != nil {
		if k.tree.ctx.Err() != nil {
			return err
		}
		k.problems.add(file, 0, "%s", reason(err))
	}
	k.docs[file] = docs
	return nil
}

// parse reads a kustomization file as Kustomize does, and refuses what would
// have it reach or run something outside of the tree.
func (k *kustomization) parse(file string, content []byte) *types.Kustomization {
	if kust, known := k.parsed[file]; known {
		return kust
	}
	k.parsed[file] = nil
	kust := new(types.Kustomization)
	if err := kust.Unmarshal(content); err != nil {
		d := &document{file: file, offset: 1, line: 1, text: content}
		d.addParseError(err, k.problems)
		return nil
	}
	before := len(k.problems.errs)
	doc := &document{file: file, offset: 1, line: 1, text: content}
	k.docs[file] = []*document{doc}
	//nolint:staticcheck // as above
	for _, name := range slices.Concat(kust.Resources, kust.Bases, kust.Components, kust.Generators, kust.Transformers, kust.Validators, pathsOf(kust)) {
		if remote(name) {
			k.problems.add(file, k.lineOf(file, name),
				"%s is not in this repository, and nothing else is read: run \"kustomize localize\" in %s and commit what it writes", name, path.Dir(file))
		}
	}
	if len(kust.HelmCharts)+len(kust.HelmChartInflationGenerator) > 0 || kust.HelmGlobals != nil {
		k.problems.add(file, k.keyLine(file, "helmCharts", "helmChartInflationGenerator", "helmGlobals"),
			"helmCharts are not inflated: follow the chart with a GitSync of its own (spec.render.type: Helm), or commit what \"helm template\" writes")
	}
	for _, entry := range slices.Concat(kust.Generators, kust.Transformers, kust.Validators) {
		k.checkPlugin(file, entry)
	}
	if len(k.problems.errs) > before {
		return nil
	}
	k.parsed[file] = kust
	return kust
}

// pathsOf are the files that a kustomization reads beside resources.
func pathsOf(kust *types.Kustomization) []string {
	paths := slices.Concat(kust.Crds, kust.Configurations)
	//nolint:staticcheck // as above
	for _, patch := range slices.Concat(kust.Patches, kust.PatchesJson6902) {
		paths = append(paths, patch.Path)
	}
	//nolint:staticcheck // as above
	for _, patch := range kust.PatchesStrategicMerge {
		if !strings.Contains(string(patch), "\n") {
			paths = append(paths, string(patch))
		}
	}
	for _, replacement := range kust.Replacements {
		paths = append(paths, replacement.Path)
	}
	paths = append(paths, kust.OpenAPI["path"])
	for _, args := range kust.ConfigMapGenerator {
		paths = append(paths, sources(args.KvPairSources)...)
	}
	for _, args := range kust.SecretGenerator {
		paths = append(paths, sources(args.KvPairSources)...)
	}
	return slices.DeleteFunc(paths, func(p string) bool { return p == "" })
}

func sources(args types.KvPairSources) []string {
	paths := append(slices.Clone(args.EnvSources), args.EnvSource)
	for _, source := range args.FileSources {
		if _, file, ok := strings.Cut(source, "="); ok && !remote(source) {
			source = file
		}
		paths = append(paths, source)
	}
	return paths
}

// A user at a host, as ssh's short form begins.
var userAtHost = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// remote tells that Kustomize would fetch what has this name, or might.
func remote(name string) bool {
	lower := strings.ToLower(name)
	if strings.HasPrefix(lower, "git::") || strings.HasPrefix(lower, "github.com/") || strings.HasPrefix(lower, "github.com:") ||
		strings.Contains(lower, "://") && !strings.ContainsAny(lower, " \n") || userAtHost.MatchString(name) {
		return true
	}
	u, err := url.Parse(name)
	return err == nil && u.Scheme != ""
}

// checkPlugin refuses all but Kustomize's own generators and transformers, and
// those where they would reach out. An entry is a file or the text itself.
func (k *kustomization) checkPlugin(file, entry string) {
	at, line := file, k.lineOf(file, entry)
	docs := []*document{}
	if strings.Contains(entry, "\n") {
		docs = documents(file, []byte(entry), k.problems)
	} else if !remote(entry) {
		at = path.Join(path.Dir(file), entry)
		if k.IsDir(at) {
			k.problems.add(file, line, "%s is a folder: name the files of generators, transformers and validators one by one", entry)
			return
		}
		content, err := k.tree.read(local(at))
		if err != nil {
			k.problems.add(file, line, "%s: %s", entry, reason(err))
			return
		}
		docs, line = documents(local(at), content, k.problems), 1
	}
	for _, doc := range docs {
		kind, _ := doc.value["kind"].(string)
		metadata, _ := doc.value["metadata"].(map[string]any)
		annotations, _ := metadata["annotations"].(map[string]any)
		switch {
		case doc.value["apiVersion"] != konfig.BuiltinPluginApiVersion || annotations["config.kubernetes.io/function"] != nil || annotations["config.k8s.io/function"] != nil:
			k.problems.add(at, line, "%s is a plug-in, and none is run: only Kustomize's own (apiVersion: builtin) are, so commit what it generates", kind)
		case strings.HasPrefix(kind, "HelmChart"):
			k.problems.add(at, line, "%s is not run: follow the chart with a GitSync of its own (spec.render.type: Helm), or commit what \"helm template\" writes", kind)
		case reachesOut(doc.value):
			k.problems.add(at, line, "%s names what is not in this repository, and nothing else is read: commit it, and name the file", kind)
		}
	}
}

// reachesOut tells that a value holds the name of something remote.
func reachesOut(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		for key, child := range value {
			if key != "literals" && reachesOut(child) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(value, reachesOut)
	case string:
		_, file, _ := strings.Cut(value, "=")
		return remote(value) || remote(file)
	}
	return false
}

// lineOf is the line of a scalar in a kustomization file; 0 where it is not
// found.
func (k *kustomization) lineOf(file, text string) int {
	return k.scan(file, func(n *yamlv3.Node) bool {
		_, after, _ := strings.Cut(n.Value, "=")
		return n.Value == text || after == text
	})
}

// keyLine is the line of the first of the keys that the file has.
func (k *kustomization) keyLine(file string, keys ...string) int {
	return k.scan(file, func(n *yamlv3.Node) bool { return slices.Contains(keys, n.Value) })
}

func (k *kustomization) scan(file string, is func(*yamlv3.Node) bool) int {
	if len(k.docs[file]) == 0 {
		return 0
	}
	doc := k.docs[file][0]
	root, _ := doc.find()
	return scan(root, is)
}

// scan is the line of the first scalar below a node that is meant.
func scan(node *yamlv3.Node, is func(*yamlv3.Node) bool) int {
	if node == nil {
		return 0
	}
	if node.Kind == yamlv3.ScalarNode && is(node) {
		return node.Line
	}
	for _, child := range node.Content {
		if line := scan(child, is); line > 0 {
			return line
		}
	}
	return 0
}

// reason is an error without the operation and the path that others name.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return oneLine(pathErr.Err)
	}
	return oneLine(err)
}
