// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/sync/render"
	"github.com/mainstay-gitops/mainstay/sync/render/sops"
)

// encrypted is a file of the package sops's tests.
func encrypted(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("sops", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func ageKeys(t *testing.T) *sops.Keys {
	t.Helper()
	keys, err := sops.NewKeys(map[string][]byte{"a.agekey": encrypted(t, "a.agekey")})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

const hunter2 = "aHVudGVyMg=="

func TestEncryptedFiles(t *testing.T) {
	kustomization := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tests := map[string]struct {
		fsys fstest.MapFS
		opts render.Options
		want []string
	}{
		"manifests keep their places": {
			fsys: fstest.MapFS{"a.yaml": {Data: encrypted(t, "several.enc.yaml")}},
			want: []string{"a.yaml:2 Secret db", "a.yaml:27 Secret other"},
		},
		"resources of a kustomization": {
			fsys: fstest.MapFS{"a.yaml": {Data: encrypted(t, "several.enc.yaml")}, "kustomization.yaml": kustomization("resources: [a.yaml]\nnamePrefix: x-\n")},
			want: []string{"a.yaml:2 Secret x-db", "a.yaml:27 Secret x-other"},
		},
		"sources of a generator": {
			fsys: fstest.MapFS{
				"a.env": {Data: encrypted(t, "all.enc.env")}, "b.json": {Data: encrypted(t, "all.enc.json")}, "c.bin": {Data: encrypted(t, "raw.enc")},
				"kustomization.yaml": kustomization("secretGenerator:\n- {name: s, envs: [a.env], files: [b.json, c.bin], options: {disableNameSuffixHash: true}}\n"),
			},
			want: []string{"kustomization.yaml:2 Secret s"},
		},
		"values of a chart": {
			fsys: func() fstest.MapFS {
				fsys := archive(strings.Replace(chartOf("password: {{ .Values.password | b64enc }}"), "ConfigMap", "Secret", 1))
				fsys["values.enc.yaml"] = &fstest.MapFile{Data: encrypted(t, "all.enc.yaml")}
				return fsys
			}(),
			opts: render.Options{Helm: render.Helm{ReleaseName: "r", Namespace: "n", ValuesFiles: []string{"values.enc.yaml"}}},
			want: []string{"templates/a.yaml:1 Secret a"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.opts.Keys = ageKeys(t)
			objects, err := render.Objects(t.Context(), test.fsys, test.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, places(objects)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			data := objects[0].Object["data"].(map[string]any)
			if data["password"] != hunter2 && data["PASSWORD"] != "aHVudGVyMiA9IHg=" {
				t.Errorf("data %v", data)
			}
			t.Run("not without a key", func(t *testing.T) {
				test.opts.Keys = nil
				objects, err := render.Objects(t.Context(), test.fsys, test.opts)
				if err == nil || !strings.Contains(err.Error(), "is encrypted with SOPS") || objects != nil {
					t.Errorf("got %v, %v", places(objects), err)
				}
			})
		})
	}
}

func TestNothingDecryptedIsInAMessage(t *testing.T) {
	fsys := archive(chartOf("a: {{ fail .Values.password }}"))
	fsys["v.yaml"] = &fstest.MapFile{Data: encrypted(t, "all.enc.yaml")}
	_, err := render.Objects(t.Context(), fsys, render.Options{
		Keys: ageKeys(t), Helm: render.Helm{ReleaseName: "r", Namespace: "n", ValuesFiles: []string{"v.yaml"}},
	})
	if want := "templates/a.yaml:5: •••"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAFileThatWasChangedIsNotDecrypted(t *testing.T) {
	content := strings.Replace(string(encrypted(t, "secret.enc.yaml")), "name: db", "name: other", 1)
	_, err := render.Objects(t.Context(), fstest.MapFS{"a.yaml": {Data: []byte(content)}}, render.Options{Keys: ageKeys(t)})
	want := "a.yaml: is encrypted with SOPS: its MAC is not that of its content: it was changed after it was encrypted"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
