// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"errors"
	"strings"
	"time"
)

// signed is an object apart from its signature.
type signed struct {
	payload, signature []byte
	// headers by name, the first of each; the signature is none of them.
	headers map[string]string
}

var errManySignatures = errors.New("has several signatures, of which nobody can tell the right one")

// splitCommit takes the signature out of a commit, as git does: what remains is
// byte for byte what was signed.
func splitCommit(raw []byte) (*signed, error) {
	s := &signed{headers: map[string]string{}}
	var payload bytes.Buffer
	inSignature, skipping, signatures := false, false, 0
	for rest := raw; len(rest) > 0; {
		line := rest
		if end := bytes.IndexByte(rest, '\n'); end >= 0 {
			line = rest[:end+1]
		}
		rest = rest[len(line):]
		if bytes.Equal(line, []byte("\n")) {
			payload.Write(line)
			payload.Write(rest)
			break
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		switch {
		case line[0] == ' ' && inSignature:
			s.signature = append(s.signature, line[1:]...)
			continue
		case line[0] == ' ' && skipping:
			continue
		case name == "gpgsig":
			signatures++
			inSignature, skipping = true, false
			s.signature = append(s.signature, value+"\n"...)
			continue
		case strings.HasPrefix(name, "gpgsig"):
			// One under the repository's other hash.
			inSignature, skipping = false, true
			continue
		}
		inSignature, skipping = false, false
		payload.Write(line)
		if _, ok := s.headers[name]; !ok && line[0] != ' ' {
			s.headers[name] = value
		}
	}
	if signatures > 1 {
		return nil, errManySignatures
	}
	s.payload = payload.Bytes()
	return s, nil
}

// splitTag takes the signature off the end of an annotated tag.
func splitTag(raw []byte) *signed {
	s := &signed{payload: raw, headers: map[string]string{}}
	headers := true
	for at := 0; at < len(raw); {
		line := raw[at:]
		if end := bytes.IndexByte(line, '\n'); end >= 0 {
			line = line[:end+1]
		}
		if len(line) == 1 {
			headers = false
		}
		if name, value, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " "); headers && ok {
			if _, known := s.headers[name]; !known {
				s.headers[name] = value
			}
		}
		if isSignature(line) {
			s.payload, s.signature = raw[:at], raw[at:]
		}
		at += len(line)
	}
	return s
}

const (
	beginPGP  = "-----BEGIN PGP SIGNATURE-----"
	beginSSH  = "-----BEGIN SSH SIGNATURE-----"
	beginX509 = "-----BEGIN SIGNED MESSAGE-----"
)

func isSignature(line []byte) bool {
	for _, begin := range []string{beginPGP, beginSSH, beginX509} {
		if bytes.HasPrefix(line, []byte(begin)) {
			return true
		}
	}
	return false
}

// when is the time that a committer or tagger claims.
func (s *signed) when(header string) (time.Time, bool) {
	fields := strings.Fields(s.headers[header])
	if len(fields) < 2 {
		return time.Time{}, false
	}
	seconds := fields[len(fields)-2]
	var n int64
	for _, c := range seconds {
		if c < '0' || c > '9' || n > 1<<40 {
			return time.Time{}, false
		}
		n = n*10 + int64(c-'0')
	}
	return time.Unix(n, 0), true
}
