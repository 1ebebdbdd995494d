// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sops_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/sync/render/sops"
)

// The files in testdata were encrypted by SOPS 3.13.3 itself; the keys protect
// nothing else.
func read(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func keys(t testing.TB, names ...string) *sops.Keys {
	t.Helper()
	data := map[string][]byte{"identity": []byte("not a key")}
	for _, name := range names {
		data[name] = read(t, name)
	}
	k, err := sops.NewKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const secret = "# who\napiVersion: v1\nkind: Secret\nmetadata:\n    name: db\nstringData:\n    password: \"hunter2\"\n    port: \"5432\"\n    empty: \"\"\n"

// withoutSealed drops comments that are encrypted, which stay as they are.
func withoutSealed(text []byte) string {
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "#ENC[") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestDecrypt(t *testing.T) {
	for file, want := range map[string]string{
		"secret.enc.yaml":  secret,
		"mac.enc.yaml":     secret,
		"pgp.enc.yaml":     secret,
		"several.enc.yaml": secret + "---\napiVersion: v1\nkind: Secret\nmetadata:\n    name: other\nstringData:\n    k: \"line one\\nline two\\n\"\n",
		"all.enc.yaml": "password: \"hunter2\"\ncount: 3\nratio: 0.5\nbig: 12345678901\n\"on\": true\n\"off\": false\nnothing: null\nlist:\n    - \"a\"\n    - b: 1\n    - \"c\"\n" +
			"plain_unencrypted: 7\nday: 2026-01-02T00:00:00Z\n",
		"all.enc.json": `{"count":3,"list":[true,{"x":"y"}],"password":"hunter2","ratio":1.5}`,
		"all.enc.env":  "USER=bo\nPASSWORD=hunter2 = x\n",
		"raw.enc":      "\x00\x01binary\n",
	} {
		t.Run(file, func(t *testing.T) {
			content := read(t, file)
			name := strings.TrimPrefix(file, "all.enc")
			if name == file {
				name = file
			}
			if !sops.Encrypted(name, content) {
				t.Error("is not seen to be encrypted")
			}
			plain, err := keys(t, "a.agekey", "pgp.asc").Decrypt(name, content)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, withoutSealed(plain.Content)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if sops.Encrypted(name, plain.Content) {
				t.Error("is seen to be encrypted still")
			}
			if len(plain.Values) == 0 {
				t.Error("no values to keep out of texts")
			}
		})
	}
}

func TestDecryptRefuses(t *testing.T) {
	text := string(read(t, "secret.enc.yaml"))
	line := func(key string) string {
		_, rest, _ := strings.Cut(text, "    "+key+": ")
		value, _, _ := strings.Cut(rest, "\n")
		return value
	}
	for name, test := range map[string]struct {
		file, content string
		keys          []string
		want          string
	}{
		"a value in another's place": {
			content: strings.Replace(text, line("port"), line("password"), 1),
			want:    "a value was changed after it was encrypted, or is not where it was then",
		},
		"a value without encryption": {
			content: strings.Replace(text, line("port"), "hunter3", 1),
			want:    "a value that has to be encrypted is not",
		},
		"a change of what is not encrypted": {
			content: strings.Replace(text, "name: db", "name: other", 1),
			want:    "its MAC is not that of its content: it was changed after it was encrypted",
		},
		"a value that was taken out": {
			content: strings.Replace(text, "    port: "+line("port")+"\n", "", 1),
			want:    "its MAC is not that of its content: it was changed after it was encrypted",
		},
		"a rule that was changed": {
			content: strings.Replace(text, "^(data|stringData)$", "^data$", 1),
			want:    "its MAC is not that of its content: it was changed after it was encrypted",
		},
		"no MAC": {
			content: strings.Replace(text, "    mac: ", "    mac2: ", 1),
			want:    "its sops metadata has no mac",
		},
		"comments that say what is encrypted": {
			content: strings.Replace(text, "encrypted_regex", "encrypted_comment_regex", 1),
			want:    "encrypting by comments is not supported: use encrypted_regex",
		},
		"an alias": {
			content: strings.Replace(text, "name: db", "name: &a db\n    other: *a", 1),
			want:    "has aliases, which are not supported in an encrypted file",
		},
		"no key for it": {
			content: text, keys: []string{"pgp.asc"},
			want: "none of the keys of spec.render.decryption opens it: it is encrypted for " + recipient(t),
		},
		"no OpenPGP key for it": {
			content: string(read(t, "pgp.enc.yaml")), keys: []string{"a.agekey"},
			want: "none of the keys of spec.render.decryption opens it: it is encrypted for PGP 07E33BC33F9EC1DBAFFAEB751FD195D141EFB5D2",
		},
		"an ini file": {
			file: "a.ini", content: string(read(t, "all.enc.json")),
			want: "is of a kind that is not supported: encrypt YAML, JSON, .env or, for others, as binary",
		},
		"a dotenv file of which a line was changed": {
			file: "a.env", content: strings.Replace(string(read(t, "all.enc.env")), "USER=", "OTHER=", 1),
			want: "a value was changed after it was encrypted, or is not where it was then",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.keys == nil {
				test.keys = []string{"a.agekey"}
			}
			if test.file == "" {
				test.file = "secret.yaml"
			}
			plain, err := keys(t, test.keys...).Decrypt(test.file, []byte(test.content))
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if plain.Content != nil {
				t.Errorf("content beside an error: %s", plain.Content)
			}
		})
	}
}

func recipient(t testing.TB) string {
	_, rest, _ := strings.Cut(string(read(t, "a.agekey")), "public key: ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}

func TestNewKeysRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		data map[string][]byte
		want string
	}{
		"nothing":             {nil, "no private keys: put age keys under a name that ends in .agekey, OpenPGP keys under one that ends in .asc"},
		"what is no age key":  {map[string][]byte{"a.agekey": []byte("AGE-SECRET-KEY-1HUNTER")}, "a.agekey holds no age keys: write what age-keygen prints"},
		"what is no PGP key":  {map[string][]byte{"a.asc": []byte("hunter")}, `a.asc holds no OpenPGP keys: write what "gpg --armor --export-secret-keys" prints`},
		"keys of other names": {map[string][]byte{"a.txt": read(t, "a.agekey")}, "no private keys: put age keys under a name that ends in .agekey, OpenPGP keys under one that ends in .asc"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sops.NewKeys(test.data)
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func FuzzDecrypt(f *testing.F) {
	k := keys(f, "a.agekey")
	for _, name := range []string{"secret.enc.yaml", "several.enc.yaml", "all.enc.json", "all.enc.env", "raw.enc"} {
		f.Add(name, read(f, name))
	}
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		sops.Encrypted(name, content)
		plain, err := k.Decrypt(name, content)
		if err == nil && sops.Encrypted(name, content) && bytes.Contains(plain.Content, []byte("sops_mac=")) {
			t.Error("metadata is left")
		}
	})
}
