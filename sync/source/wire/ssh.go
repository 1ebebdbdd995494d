// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// SSHOptions say how to reach a repository over SSH.
type SSHOptions struct {
	// URL of the repository: ssh://user@host:port/path. Required.
	URL *url.URL
	// Signer is the key to show. Required.
	Signer ssh.Signer
	// KnownHosts has the hosts' keys, as OpenSSH's file does. Required.
	KnownHosts []byte
	// MaxPack bounds the bytes of one pack. Required.
	MaxPack int64
}

// ErrKnownHosts is a known_hosts that cannot be read.
var ErrKnownHosts = errors.New("known_hosts cannot be read")

// NewSSH returns a Remote that is reached over SSH.
func NewSSH(o SSHOptions) (*Remote, error) {
	db, err := parseKnownHosts(o.KnownHosts)
	if err != nil {
		return nil, err
	}
	s := &overSSH{o: o, known: db, user: "git", host: o.URL.Hostname(), port: o.URL.Port()}
	if name := o.URL.User.Username(); name != "" {
		s.user = name
	}
	if s.port == "" {
		s.port = "22"
	}
	return &Remote{dial: s, maxPack: o.MaxPack}, nil
}

// parseKnownHosts goes through a file, since the parser reads nothing else.
func parseKnownHosts(content []byte) (*knownhosts.HostKeyDB, error) {
	f, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return nil, fmt.Errorf("parse known_hosts: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("parse known_hosts: %w", err)
	}
	db, err := knownhosts.NewDB(f.Name())
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrKnownHosts, strings.ReplaceAll(err.Error(), f.Name(), "line"))
	}
	return db, nil
}

// overSSH is a server that runs git-upload-pack for each conversation.
type overSSH struct {
	o                SSHOptions
	known            *knownhosts.HostKeyDB
	user, host, port string
}

func (s *overSSH) connect(ctx context.Context) (_ conversation, err error) {
	address := net.JoinHostPort(s.host, s.port)
	// None where nothing is known of the host: see what it shows, and refuse it.
	algorithms := s.known.HostKeyAlgorithms(address)
	socket, err := Dialer().DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	// The library waits without a context.
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	config := &ssh.ClientConfig{
		User: s.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(s.o.Signer)},
		HostKeyCallback: s.check, HostKeyAlgorithms: algorithms, ClientVersion: "SSH-2.0-mainstay",
	}
	_ = socket.SetDeadline(time.Now().Add(30 * time.Second))
	link, channels, requests, err := ssh.NewClientConn(socket, address, config)
	if err != nil {
		stop()
		_ = socket.Close() // the first error says more
		return nil, s.explain(ctx, err)
	}
	_ = socket.SetDeadline(time.Time{})
	c := &sshConversation{client: ssh.NewClient(link, channels, requests), stop: stop}
	if err := c.begin(s.o.URL.Path); err != nil {
		_ = c.Close() // the first error says more
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return c, nil
}

// check is asked about the host's key.
func (s *overSSH) check(hostname string, remote net.Addr, key ssh.PublicKey) error {
	err := s.known.HostKeyCallback()(hostname, remote, key)
	if err == nil {
		return nil
	}
	e := s.unknown(err)
	e.Type, e.Fingerprint = key.Type(), ssh.FingerprintSHA256(key)
	e.Changed = knownhosts.IsHostKeyChanged(err)
	return e
}

func (s *overSSH) unknown(cause error) *HostKeyError {
	e := &HostKeyError{Host: knownhosts.Normalize(net.JoinHostPort(s.host, s.port)), Scan: "ssh-keyscan " + s.host, cause: cause}
	if s.port != "22" {
		e.Scan = "ssh-keyscan -p " + s.port + " " + s.host
	}
	return e
}

func (s *overSSH) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var none *ssh.AlgorithmNegotiationError
	switch {
	case strings.Contains(err.Error(), "unable to authenticate"):
		return ErrDenied
	case errors.As(err, &none) && strings.Contains(err.Error(), "host key"):
		return s.unknown(err)
	}
	return err
}

type sshConversation struct {
	client  *ssh.Client
	session *ssh.Session
	stop    func() bool
	in      io.WriteCloser
	said    *hello
	packets *packets
}

// begin starts the program on the server, and hears it out.
func (c *sshConversation) begin(path string) error {
	var err error
	if c.session, err = c.client.NewSession(); err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	// A server that does not take the variable speaks version 0.
	_ = c.session.Setenv("GIT_PROTOCOL", "version=2")
	if c.in, err = c.session.StdinPipe(); err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	out, err := c.session.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	complaint := &tail{left: 1024}
	c.session.Stderr = complaint
	if err := c.session.Start("git-upload-pack '" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"); err != nil {
		return fmt.Errorf("start git-upload-pack: %w", err)
	}
	bounded := &limited{r: out, left: maxRefs, err: ErrTooLarge}
	c.packets = newPackets(bounded)
	if c.said, err = readHello(c.packets); err == nil {
		bounded.left = math.MaxInt64 - 1 // whoever asks bounds the answer
		return nil
	}
	if said := complaint.wait(c.session); said != "" && errors.Is(err, io.ErrUnexpectedEOF) {
		return &ServerError{Text: said}
	}
	return fmt.Errorf("read the server's first words: %w", err)
}

func (c *sshConversation) hello() *hello { return c.said }

func (c *sshConversation) ask(ctx context.Context, request string) (io.ReadCloser, error) {
	if _, err := io.WriteString(c.in, request); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("send the request: %w", err)
	}
	return io.NopCloser(&cancelled{ctx, c.packets.r}), nil
}

// Close ends the program on the server and the connection.
func (c *sshConversation) Close() error {
	c.stop()
	if c.session != nil {
		_ = c.session.Close() // it may have ended by itself
	}
	return c.client.Close()
}

// cancelled says that the context ended where its end broke the connection.
type cancelled struct {
	ctx context.Context //nolint:containedctx // It belongs to one answer, as that of an http.Request does.
	r   io.Reader
}

// Read implements io.Reader.
func (c *cancelled) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && c.ctx.Err() != nil {
		err = c.ctx.Err()
	}
	return n, err
}

// tail keeps the first words of a stream.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
	left int
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(p), t.left)
	t.text.Write(p[:n])
	t.left -= n
	return len(p), nil
}

// wait returns the first words after the program has ended.
func (t *tail) wait(session *ssh.Session) string {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = session.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(time.Second):
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(t.text.String()), "remote:"))
}
