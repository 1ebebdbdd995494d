// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mainstay-gitops/mainstay/sync/source"
)

// sshServer runs git's own git-upload-pack for whoever has the right key.
type sshServer struct {
	address string
	host    ssh.Signer
	// old refuses the variable that asks for version 2.
	old atomic.Bool
	// packs counts how often the program ran.
	runs atomic.Int64
}

// key makes a private key: as a signer, and in PEM, encrypted if there is a
// passphrase.
func key(t *testing.T, passphrase string) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

func serveSSH(t *testing.T, r *repo, may ssh.PublicKey) *sshServer {
	t.Helper()
	s := &sshServer{}
	s.host, _ = key(t, "")
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, shown ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() == "git" && string(shown.Marshal()) == string(may.Marshal()) {
			return &ssh.Permissions{}, nil
		}
		return nil, errors.New("no")
	}}
	config.AddHostKey(s.host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	s.address = listener.Addr().String()
	go func() {
		for {
			socket, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(r, socket, config)
		}
	}()
	return s
}

func (s *sshServer) serve(r *repo, socket net.Conn, config *ssh.ServerConfig) {
	defer func() { _ = socket.Close() }()
	_, channels, requests, err := ssh.NewServerConn(socket, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go s.session(r, channel, requests)
	}
}

func (s *sshServer) session(r *repo, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }()
	var env []string
	for req := range requests {
		switch req.Type {
		case "env":
			var v struct{ Name, Value string }
			ok := ssh.Unmarshal(req.Payload, &v) == nil && v.Name == "GIT_PROTOCOL" && !s.old.Load()
			if ok {
				env = append(env, v.Name+"="+v.Value)
			}
			_ = req.Reply(ok, nil)
		case "exec":
			var v struct{ Line string }
			_ = ssh.Unmarshal(req.Payload, &v)
			path, isGit := strings.CutPrefix(v.Line, "git-upload-pack '/")
			_ = req.Reply(isGit, nil)
			if !isGit {
				return
			}
			s.runs.Add(1)
			cmd := exec.Command("git", "upload-pack", filepath.Join(filepath.Dir(r.bare), strings.TrimSuffix(path, "'")))
			cmd.Env = append([]string{"GIT_CONFIG_GLOBAL=/dev/null", "PATH=/usr/bin:/bin:/usr/local/bin"}, env...)
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			in, err := cmd.StdinPipe()
			if err != nil || cmd.Start() != nil {
				return
			}
			go func() {
				_, _ = io.Copy(in, channel)
				in.Close()
			}()
			status := struct{ Status uint32 }{}
			if cmd.Wait() != nil {
				status.Status = 1
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
			return
		default:
			_ = req.Reply(false, nil)
		}
	}
}

func (s *sshServer) url(repository string) string {
	return "ssh://git@" + s.address + "/" + repository
}

func (s *sshServer) knownHosts(key ssh.PublicKey) []byte {
	return []byte(knownhosts.Line([]string{s.address}, key) + "\n")
}

func TestFetchOverSSH(t *testing.T) {
	t.Parallel()
	r := newRepo(t)
	r.write("a.yaml", "one")
	first := r.push("First")
	signer, identity := key(t, "")
	locked, encrypted := key(t, password)
	_, stranger := key(t, "")
	other, _ := key(t, "")
	s := serveSSH(t, r, signer.PublicKey())
	lockedServer := serveSSH(t, r, locked.PublicKey())
	host := s.knownHosts(s.host.PublicKey())
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("what is refused", func(t *testing.T) {
		tests := map[string]struct {
			url    string
			auth   source.Auth
			reason string
			says   string
		}{
			"no key":                    {s.url("shop.git"), source.Auth{KnownHosts: host}, source.ReasonAuthFailed, "key identity of the Secret"},
			"a key that is none":        {s.url("shop.git"), source.Auth{KnownHosts: host, Identity: []byte("hello")}, source.ReasonAuthFailed, "no private key that can be opened"},
			"a key without passphrase":  {s.url("shop.git"), source.Auth{KnownHosts: host, Identity: encrypted}, source.ReasonAuthFailed, "put its passphrase into the key password"},
			"a wrong passphrase":        {s.url("shop.git"), source.Auth{KnownHosts: host, Identity: encrypted, Password: "wrong-wrong"}, source.ReasonAuthFailed, "no private key that can be opened"},
			"somebody else's key":       {s.url("shop.git"), source.Auth{KnownHosts: host, Identity: stranger}, source.ReasonAuthFailed, "the server refuses the key"},
			"another user":              {strings.Replace(s.url("shop.git"), "git@", "alice@", 1), source.Auth{KnownHosts: host, Identity: identity}, source.ReasonAuthFailed, "the server refuses the key"},
			"no known_hosts":            {s.url("shop.git"), source.Auth{Identity: identity}, source.ReasonHostKeyFailed, "`ssh-keyscan -p " + port + " 127.0.0.1`"},
			"known_hosts of others":     {s.url("shop.git"), source.Auth{Identity: identity, KnownHosts: []byte(knownhosts.Line([]string{"git.example.org"}, other.PublicKey()))}, source.ReasonHostKeyFailed, ssh.FingerprintSHA256(s.host.PublicKey()) + ") is not in known_hosts"},
			"a host key that changed":   {s.url("shop.git"), source.Auth{Identity: identity, KnownHosts: s.knownHosts(other.PublicKey())}, source.ReasonHostKeyFailed, "has changed"},
			"known_hosts that are none": {s.url("shop.git"), source.Auth{Identity: identity, KnownHosts: []byte("a b c d e f\n")}, source.ReasonHostKeyFailed, "known_hosts cannot be read"},
			"a repository that is not":  {s.url("none.git"), source.Auth{Identity: identity, KnownHosts: host}, source.ReasonRepositoryNotFound, "spec.source.url"},
			"the form of scp":           {"git@git.example.org:shop/web.git", source.Auth{Identity: identity, KnownHosts: host}, source.ReasonFetchFailed, "write ssh://git@git.example.org/shop/web.git"},
			"a password in the URL":     {"ssh://git:" + password + "@git.example.org/shop.git", source.Auth{Identity: identity, KnownHosts: host}, source.ReasonFetchFailed, "a password in an ssh URL is not used"},
		}
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				_, err := newStore(t, t.TempDir()).Fetch(t.Context(), source.Request{URL: test.url, Branch: "main", Auth: test.auth})
				refused(t, err, test.reason, test.says)
			})
		}
	})

	t.Run("an encrypted key", func(t *testing.T) {
		t.Parallel()
		auth := source.Auth{Identity: encrypted, Password: password, KnownHosts: lockedServer.knownHosts(lockedServer.host.PublicKey())}
		got := mustFetch(t, newStore(t, t.TempDir()), source.Request{URL: lockedServer.url("shop.git"), Branch: "main", Auth: auth})
		if read(t, got.FS, "a.yaml") == "" {
			t.Error("no content")
		}
	})

	for name, old := range map[string]bool{"version 2": false, "version 0": true} {
		t.Run(name, func(t *testing.T) {
			s.old.Store(old)
			store := newStore(t, t.TempDir())
			req := source.Request{URL: s.url("shop.git"), Branch: "main", Auth: source.Auth{Identity: identity, KnownHosts: host}}
			before := mustFetch(t, store, req)
			if before.Revision.Commit == "" || read(t, before.FS, "a.yaml") == "" {
				t.Errorf("%+v", before.Revision)
			}
			r.write("a.yaml", name)
			second := r.push("Change for " + name)
			req.LastCommit, req.Base = before.Revision.Commit, before.Revision.Commit
			got := mustFetch(t, store, req)
			if got.Revision.Commit != second || read(t, got.FS, "a.yaml") != name {
				t.Errorf("%+v", got.Revision)
			}
			h, err := store.Since(t.Context(), req, second, true)
			if err != nil || !h.Descends || !h.Whole || len(h.Commits) != 1 || h.Commits[0].ID != second {
				t.Errorf("history: %+v, %v", h, err)
			}
			req.Branch, req.Commit, req.LastCommit = "", first, ""
			if got := mustFetch(t, store, req); read(t, got.FS, "a.yaml") != "one" {
				t.Errorf("commit by id: %+v", got.Revision)
			}
			req.Commit = strings.Repeat("0123456789", 4)
			_, err = store.Fetch(t.Context(), req)
			refused(t, err, source.ReasonRefNotFound, "in none of the repository's branches and tags")
		})
	}
}

// refused checks an error's reason and words, and that it tells no credential.
func refused(t *testing.T, err error, reason, says string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if got := source.Reason(err); got != reason {
		t.Errorf("reason %s, want %s", got, reason)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("%q does not say %q", err, says)
	}
	for _, secret := range []string{password, token, "PRIVATE KEY"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q tells a credential", err)
		}
	}
}
