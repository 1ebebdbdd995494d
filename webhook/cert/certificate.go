// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package cert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// SecretName is the name of the authority's Secret. Its type is none of those
// that the webhook guards: an authority that expired while nothing ran must be
// replaceable before the webhook can be reached.
const SecretName = "mainstay-webhook-ca"

// Lives of the certificates; each is renewed after two thirds.
const (
	authorityLife = 365 * 24 * time.Hour
	servingLife   = 7 * 24 * time.Hour
	// settle is how long a running replica goes on serving under the old
	// authority, so that the new bundle reaches the API server first.
	settle = time.Minute
	// check is the time between two looks at the lives.
	check = time.Minute
)

const bundleKey = "ca.crt"

// Options of a Certificate. Client, Namespace and a name or address are
// required.
type Options struct {
	Client kubernetes.Interface
	// Namespace is Mainstay's own.
	Namespace string
	// DNSNames and IPs under which the API server reaches the webhook.
	DNSNames []string
	IPs      []net.IP
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Clock is time.Now where it is nil.
	Clock func() time.Time
}

// Certificate is a serving certificate and the bundle to trust it by. It is
// safe for concurrent use.
type Certificate struct {
	options Options
	expiry  *prometheus.GaugeVec

	mu sync.RWMutex
	// authority signs; since says when this replica first saw it.
	authority *authority
	since     time.Time
	bundle    []byte
	serving   *tls.Certificate
	changed   chan struct{}
}

// New returns a Certificate that has nothing to serve before Ensure or Start.
func New(options Options) (*Certificate, error) {
	switch {
	case options.Client == nil:
		return nil, errors.New("cert: Options.Client is required")
	case options.Namespace == "":
		return nil, errors.New("cert: Options.Namespace is required")
	case len(options.DNSNames) == 0 && len(options.IPs) == 0:
		return nil, errors.New("cert: Options.DNSNames or Options.IPs is required")
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	c := &Certificate{
		options: options,
		changed: make(chan struct{}),
		expiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mainstay_certificate_expiration_timestamp_seconds",
			Help: "When the webhook's certificates end, in seconds since 1970.",
		}, []string{"certificate"}),
	}
	if options.Registerer != nil {
		if err := options.Registerer.Register(c.expiry); err != nil {
			return nil, fmt.Errorf("register metrics of the certificate: %w", err)
		}
	}
	return c, nil
}

// Start keeps the certificate current until ctx ends. An API server that can't
// be reached is tried again: what is served stays valid meanwhile.
func (c *Certificate) Start(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	poke := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	factory := informers.NewSharedInformerFactoryWithOptions(c.options.Client, 0,
		informers.WithNamespace(c.options.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, SecretName).String()
		}))
	informer := factory.Core().V1().Secrets().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { poke() }, UpdateFunc: func(any, any) { poke() }, DeleteFunc: func(any) { poke() },
	}); err != nil {
		return fmt.Errorf("watch %s: %w", SecretName, err)
	}
	go informer.RunWithContext(ctx)
	for {
		wait := check
		if err := c.Ensure(ctx); err != nil {
			wait = time.Second
			if ctx.Err() == nil && c.Bundle() == nil && !apierrors.IsServiceUnavailable(err) && permanent(err) {
				return err
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// permanent tells an error that trying again does not cure.
func permanent(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
}

// NeedLeaderElection tells that every replica serves.
func (c *Certificate) NeedLeaderElection() bool { return false }

// Ensure reads or makes the authority and renews what is due. After it returns
// nil there is a certificate to serve and a bundle.
func (c *Certificate) Ensure(ctx context.Context) error {
	secret, err := c.secret(ctx)
	if err != nil {
		return err
	}
	signer, err := parseAuthority(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return fmt.Errorf("secret %s: %w", SecretName, err)
	}
	return c.adopt(signer, secret.Data[bundleKey])
}

// secret returns the authority's Secret, made or renewed where that is due.
func (c *Certificate) secret(ctx context.Context) (*corev1.Secret, error) {
	secrets := c.options.Client.CoreV1().Secrets(c.options.Namespace)
	// Whoever comes second finds what the first has written.
	for range 3 {
		now := c.options.Clock()
		found, err := secrets.Get(ctx, SecretName, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("get secret %s: %w", SecretName, err)
		}
		if err == nil && !due(found, now) {
			return found, nil
		}
		if err != nil {
			found = nil
		}
		next, nextErr := c.renewed(found, now)
		if nextErr != nil {
			return nil, nextErr
		}
		var written *corev1.Secret
		if found == nil {
			written, err = secrets.Create(ctx, next, metav1.CreateOptions{})
		} else {
			written, err = secrets.Update(ctx, next, metav1.UpdateOptions{})
		}
		if err == nil {
			return written, nil
		}
		if !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("write secret %s: %w", SecretName, err)
		}
	}
	return nil, fmt.Errorf("write secret %s: others write it all the time", SecretName)
}

// due tells whether the authority has to be replaced: it can't be read, or two
// thirds of its life are over.
func due(secret *corev1.Secret, now time.Time) bool {
	a, err := parseAuthority(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	return err != nil || old(a.certificate, now) || !bytes.Contains(secret.Data[bundleKey], bytes.TrimSpace(secret.Data[corev1.TLSCertKey]))
}

// renewed is the Secret with a new authority, and a bundle that still has the
// old ones that have not expired.
func (c *Certificate) renewed(found *corev1.Secret, now time.Time) (*corev1.Secret, error) {
	a, err := newAuthority(now)
	if err != nil {
		return nil, err
	}
	keyPEM, err := a.keyPEM()
	if err != nil {
		return nil, err
	}
	next := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: SecretName, Namespace: c.options.Namespace,
			Labels: map[string]string{"app.kubernetes.io/name": "mainstay"},
		},
		Type: corev1.SecretTypeTLS,
	}
	bundle := a.pem()
	if found != nil {
		next = found.DeepCopy()
		for _, certificate := range parseBundle(found.Data[bundleKey]) {
			if now.Before(certificate.NotAfter) {
				bundle = append(bundle, encodeCertificate(certificate.Raw)...)
			}
		}
	}
	next.Data = map[string][]byte{corev1.TLSCertKey: a.pem(), corev1.TLSPrivateKeyKey: keyPEM, bundleKey: bundle}
	return next, nil
}

// adopt serves under an authority.
func (c *Certificate) adopt(signer *authority, bundle []byte) error {
	now := c.options.Clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.authority == nil || !c.authority.certificate.Equal(signer.certificate) {
		c.authority, c.since = signer, now
	}
	if c.serving == nil || old(c.serving.Leaf, now) || !c.signed() && (now.Sub(c.since) >= settle || !inBundle(c.serving.Leaf, bundle)) {
		serving, err := c.authority.issue(c.options.DNSNames, c.options.IPs, now)
		if err != nil {
			return err
		}
		c.serving = serving
	}
	if !bytes.Equal(c.bundle, bundle) {
		c.bundle = bytes.Clone(bundle)
		close(c.changed)
		c.changed = make(chan struct{})
	}
	c.expiry.WithLabelValues("ca").Set(float64(c.authority.certificate.NotAfter.Unix()))
	c.expiry.WithLabelValues("serving").Set(float64(c.serving.Leaf.NotAfter.Unix()))
	return nil
}

// signed tells whether the present authority signed what is served.
func (c *Certificate) signed() bool {
	return c.serving.Leaf.CheckSignatureFrom(c.authority.certificate) == nil
}

func inBundle(leaf *x509.Certificate, bundle []byte) bool {
	for _, a := range parseBundle(bundle) {
		if leaf.CheckSignatureFrom(a) == nil {
			return true
		}
	}
	return false
}

// old tells whether two thirds of a certificate's life are over.
func old(certificate *x509.Certificate, now time.Time) bool {
	life := certificate.NotAfter.Sub(certificate.NotBefore)
	return now.After(certificate.NotBefore.Add(life * 2 / 3))
}

// TLSConfig serves the present certificate, whenever it was renewed. HTTP/2 is
// left out: the API server opens few connections and keeps them, and its
// resets are an attack on the server alone.
func (c *Certificate) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c.mu.RLock()
			defer c.mu.RUnlock()
			if c.serving == nil {
				return nil, errors.New("there is no certificate yet")
			}
			return c.serving, nil
		},
	}
}

// Bundle is the PEM by which the API server trusts every replica; nil before
// the first Ensure.
func (c *Certificate) Bundle() []byte {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return bytes.Clone(c.bundle)
}

// Changed returns a channel that is closed at the next change of the Bundle.
func (c *Certificate) Changed() <-chan struct{} {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.changed
}
