// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

var one, two = strings.Repeat("1", 40), strings.Repeat("2", 40)

// said is what a server sends: a packet for each line, a flush for an empty one.
func said(lines ...string) []byte {
	var b bytes.Buffer
	for _, line := range lines {
		if line == "" {
			b.WriteString("0000")
			continue
		}
		fmt.Fprintf(&b, "%04x%s", len(line)+4, line)
	}
	return b.Bytes()
}

func of(answer []byte) *packets { return newPackets(bytes.NewReader(answer)) }

func TestHowAServerIntroducesItself(t *testing.T) {
	for name, tt := range map[string]struct {
		answer  []byte
		version int
		err     error
	}{
		"version 2 says what it can":                {said("version 2\n", "agent=git/2\n", "fetch=shallow\n", "object-format=sha1\n", ""), 2, nil},
		"version 0 lists its refs":                  {said(one+" refs/heads/main\x00shallow side-band-64k\n", two+" refs/tags/v1\n", ""), 0, nil},
		"version 1 is version 0 with a line before": {said("version 1\n", one+" refs/heads/main\x00shallow\n", ""), 0, nil},
		"an empty repository has no refs":           {said(strings.Repeat("0", 40)+" capabilities^{}\x00shallow\n", ""), 0, nil},
		"ids of SHA-256 cannot be read":             {said("version 2\n", "object-format=sha256\n", ""), 0, errFormat},
		"neither version is none":                   {said("hello\n", ""), 0, ErrNoVersion},
		"a page of a proxy is none":                 {[]byte("<html><body>502</body></html>"), 0, errPacket},
		"a packet shorter than its length's digits": {[]byte("0003"), 0, errPacket},
		"a packet longer than may be":               {append([]byte("fff1"), make([]byte, 70000)...), 0, errPacket},
		"a length with a sign":                      {[]byte("+010abcdefghijkl"), 0, errPacket},
		"a ref with an id that is none":             {said("xyz refs/heads/main\x00shallow\n", ""), 0, errPacket},
		"a list that is cut off":                    {said("version 2\n", "fetch=shallow\n"), 0, io.ErrUnexpectedEOF},
		"a packet that is cut off":                  {said("version 2\n")[:8], 0, io.ErrUnexpectedEOF},
		"nothing":                                   {nil, 0, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := readHello(of(tt.answer))
			if !errors.Is(err, tt.err) || err == nil && h.version != tt.version {
				t.Errorf("%+v, %v; want version %d, %v", h, err, tt.version, tt.err)
			}
		})
	}
	t.Run("what it refuses is said in its words", func(t *testing.T) {
		_, err := readHello(of(said("ERR no such repository\n")))
		if refusal, ok := errors.AsType[*ServerError](err); !ok || refusal.Text != "no such repository" {
			t.Errorf("%v", err)
		}
	})
}

func TestRefsAreReadWithWhatTagsPointTo(t *testing.T) {
	refs, err := readRefs(of(said("unborn HEAD symref-target:refs/heads/main\n", one+" refs/heads/main\n", one+" refs/tags/v1 peeled:"+two+"\n", "")))
	if err != nil {
		t.Fatal(err)
	}
	if refs.Hashes["refs/heads/main"] != plumbing.NewHash(one) || refs.Peeled["refs/tags/v1"] != plumbing.NewHash(two) || len(refs.Hashes) != 2 {
		t.Errorf("refs = %+v", refs)
	}
	for name, answer := range map[string][]byte{
		"a ref without a name":                 said(one+"\n", ""),
		"a ref with a short id":                said(one[:39]+" refs/heads/main\n", ""),
		"a tag that points to what is no id":   said(one+" refs/tags/v1 peeled:x\n", ""),
		"a list that ends before it is ended":  said(one + " refs/heads/main\n"),
		"a list that ends in the middle of it": said(one + " refs/heads/main\n")[:20],
	} {
		t.Run(name, func(t *testing.T) {
			if refs, err := readRefs(of(answer)); err == nil {
				t.Errorf("%+v, want an error", refs)
			}
		})
	}
}

func TestAPackIsWholeOrAnError(t *testing.T) {
	new2 := &hello{version: 2}
	old := &hello{can: map[string]string{"side-band-64k": "", "shallow": ""}}
	for name, tt := range map[string]struct {
		hello  *hello
		want   Want
		answer []byte
		err    error
	}{
		"in two parts, with progress between":     {new2, Want{}, said("packfile\n", "\x01PA", "\x02working", "\x01CK", ""), nil},
		"after what is shallow":                   {new2, Want{}, said("shallow-info\n", "shallow "+one+"\n", "packfile\n", "\x01PACK", ""), nil},
		"in version 0, after what is shallow":     {old, Want{Depth: 1}, said("shallow "+one+"\n", "", "NAK\n", "\x01PACK", ""), nil},
		"in version 0, after what both have":      {old, Want{}, said("ACK "+one+" common\n", "ACK "+one+"\n", "\x01PACK", ""), nil},
		"without the flush at its end":            {new2, Want{}, said("packfile\n", "\x01PACK"), io.ErrUnexpectedEOF},
		"in a channel that is none":               {new2, Want{}, said("packfile\n", "\x04PACK", ""), errPacket},
		"left out":                                {new2, Want{}, said("acknowledgments\n", "NAK\n", ""), errPacket},
		"left out, and nobody says that it ended": {old, Want{}, said("ACK " + one + " common\n"), io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			pack, err := tt.hello.pack(of(tt.answer), &tt.want)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(pack)
			}
			if !errors.Is(err, tt.err) || err == nil && string(got) != "PACK" {
				t.Errorf("%q, %v; want %v", got, err, tt.err)
			}
		})
	}
	t.Run("what goes wrong is said in the server's words", func(t *testing.T) {
		_, err := io.ReadAll(&sideband{packets: of(said("\x01PA", "\x03out of memory\n"))})
		if refusal, ok := errors.AsType[*ServerError](err); !ok || refusal.Text != "out of memory" {
			t.Errorf("%v", err)
		}
	})
	t.Run("what is longer than it may be is an error", func(t *testing.T) {
		for size, want := range map[int]error{10: nil, 11: ErrTooLarge} {
			_, err := io.ReadAll(&limited{r: bytes.NewReader(make([]byte, size)), left: 10, err: ErrTooLarge})
			if !errors.Is(err, want) {
				t.Errorf("%d bytes: %v, want %v", size, err, want)
			}
		}
	})
}

// Whatever a server says, it is read to an end, and takes no more memory than it
// has sent.
func FuzzAnswers(f *testing.F) {
	for _, answer := range [][]byte{
		said("version 2\n", "fetch=shallow\n", ""),
		said(one+" refs/heads/main\x00shallow side-band-64k\n", ""),
		said(one+" refs/tags/v1 peeled:"+two+"\n", ""),
		said("packfile\n", "\x01PACK", ""),
		said("shallow "+one+"\n", "", "NAK\n", "\x01PACK", ""),
		[]byte("0000"), []byte("0004"), []byte("fff0"),
	} {
		f.Add(answer, true)
		f.Add(answer, false)
	}
	f.Fuzz(func(t *testing.T, answer []byte, recent bool) {
		h, err := readHello(of(answer))
		if err == nil && h.format() == nil && h.version != 2 && h.refs == nil {
			t.Error("an old server without refs")
		}
		if refs, err := readRefs(of(answer)); err == nil && len(refs.Hashes)+len(refs.Peeled) > len(answer) {
			t.Error("more refs than bytes")
		}
		speaks := &hello{can: map[string]string{"side-band-64k": "", "shallow": ""}}
		if recent {
			speaks.version = 2
		}
		pack, err := speaks.pack(of(answer), &Want{Depth: 1})
		if err != nil {
			return
		}
		if n, _ := io.Copy(io.Discard, pack); n > int64(len(answer)) {
			t.Errorf("a pack of %d bytes in an answer of %d", n, len(answer))
		}
	})
}
