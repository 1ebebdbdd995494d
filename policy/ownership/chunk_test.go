// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package ownership_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

func entries() []*ownership.Entry {
	content := func(value string) *ownership.Content {
		return &ownership.Content{
			Revision: ownership.Revision{Name: "main@sha1:1a2b", Commit: "1a2b", Author: "Bo", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Subject: "<&>"},
			File:     "a.yaml", Line: 7, Lines: "\n/data\t9\n", Text: 1<<63 + 1, Digest: "d",
			Desired: []byte(`{"data":{"k":"` + value + `"}}`), Baseline: []byte(`{"data":{"k":"` + value + `","n":1000000000000000000001}}`),
			Fields: []byte(`{"f:data":{"f:k":{}}}`),
		}
	}
	return []*ownership.Entry{
		{ID: ownership.ID{Kind: "ConfigMap", Namespace: "shop", Name: "a"}, Version: "v1", Resource: "configmaps", Applied: content("<ü>"), Attempted: content("two")},
		{ID: ownership.ID{Group: "example.org", Kind: "Widget", Name: "b"}, Version: "v1beta1", Resource: "widgets", Applied: content(`\u0007\n`), Pruning: true},
		{ID: ownership.ID{Kind: "Namespace", Name: "shop"}, Version: "v1", Resource: "namespaces", Attempted: content("")},
	}
}

func TestAChunkIsReadAsItWasWritten(t *testing.T) {
	for name, want := range map[string][]*ownership.Entry{"some entries": entries(), "none": nil} {
		t.Run(name, func(t *testing.T) {
			data, err := ownership.EncodeChunk(want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ownership.DecodeChunk(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-written +read):\n%s", diff)
			}
		})
	}
}

func TestAChunkThatIsDamagedIsAnError(t *testing.T) {
	data, err := ownership.EncodeChunk(entries())
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte(nil), data...)
	flipped[len(flipped)/2] ^= 0xff
	for name, damaged := range map[string][]byte{
		"it is cut short":   data[:len(data)/2],
		"a byte is another": flipped,
		"it is no chunk":    []byte(`{"kind":"ConfigMap"}`),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ownership.DecodeChunk(damaged); err == nil {
				t.Errorf("got %d entries, want an error", len(got))
			}
		})
	}
}

// FuzzDecodeChunk: whatever the bytes, decoding ends with an error or with
// entries that are written and read again as they are.
func FuzzDecodeChunk(f *testing.F) {
	for _, seed := range [][]*ownership.Entry{nil, entries(), entries()[:1]} {
		data, err := ownership.EncodeChunk(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := ownership.DecodeChunk(data)
		if err != nil {
			return
		}
		again, err := ownership.EncodeChunk(first)
		if err != nil {
			t.Fatalf("entries that were read can't be written: %v", err)
		}
		second, err := ownership.DecodeChunk(again)
		if err != nil {
			t.Fatalf("entries that were written can't be read: %v", err)
		}
		if len(first) != len(second) {
			t.Fatalf("%d entries became %d", len(first), len(second))
		}
		for i := range first {
			if first[i].ID != second[i].ID || first[i].Pruning != second[i].Pruning {
				t.Errorf("entry %d: %+v became %+v", i, first[i], second[i])
			}
		}
	})
}
