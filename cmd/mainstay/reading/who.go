// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apicache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"

	"github.com/mainstay-gitops/mainstay/policy"
)

const (
	// The authorities that sign certificates for users, as the API server
	// publishes them.
	authenticationNamespace = "kube-system"
	authenticationConfig    = "extension-apiserver-authentication"
	clientCAKey             = "client-ca-file"
	// authoritiesFor is how long they are used before they are read again.
	authoritiesFor = time.Minute
	// knownFor is how long a token's user is.
	knownFor = 10 * time.Second
	// authenticated is the group of everybody who is known.
	authenticated = "system:authenticated"
)

// Authenticator tells who sends a request, as the API server would: by a client
// certificate or a bearer token. It is safe for concurrent use.
type Authenticator struct {
	kube   kubernetes.Interface
	tokens *apicache.LRUExpireCache

	mu   sync.Mutex
	pool *x509.CertPool
	read time.Time
}

// NewAuthenticator returns an Authenticator that asks kube.
func NewAuthenticator(kube kubernetes.Interface) *Authenticator {
	return &Authenticator{kube: kube, tokens: apicache.NewLRUExpireCache(1024)}
}

// Who returns nil for nobody that is known. A connection's certificate was
// proved to be the client's, and is verified here.
func (a *Authenticator) Who(r *http.Request) (*policy.User, error) {
	if r.TLS == nil {
		return nil, errors.New("the connection is not encrypted")
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && token != "" {
		return a.byToken(r.Context(), token)
	}
	if len(r.TLS.PeerCertificates) > 0 {
		return a.byCertificate(r.Context(), r.TLS.PeerCertificates)
	}
	return nil, nil //nolint:nilnil // nobody
}

func (a *Authenticator) byToken(ctx context.Context, token string) (*policy.User, error) {
	key := sha256.Sum256([]byte(token))
	if known, ok := a.tokens.Get(key); ok {
		user, _ := known.(*policy.User)
		return user, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	review, err := a.kube.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("review the token: %w", err)
	}
	var user *policy.User
	if u := review.Status.User; review.Status.Authenticated && u.Username != "" {
		user = &policy.User{Username: u.Username, UID: u.UID, Groups: u.Groups}
		for k, v := range u.Extra {
			if user.Extra == nil {
				user.Extra = map[string][]string{}
			}
			user.Extra[k] = v
		}
	}
	a.tokens.Add(key, user, knownFor)
	return user, nil
}

func (a *Authenticator) byCertificate(ctx context.Context, chain []*x509.Certificate) (*policy.User, error) {
	roots, err := a.authorities(ctx)
	if err != nil {
		return nil, err
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	leaf := chain[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil || leaf.Subject.CommonName == "" {
		return nil, nil //nolint:nilnil,nilerr // nobody that the cluster knows
	}
	return &policy.User{Username: leaf.Subject.CommonName, Groups: append(leaf.Subject.Organization, authenticated)}, nil
}

// authorities that the API server trusts for users; none where it has none.
func (a *Authenticator) authorities(ctx context.Context) (*x509.CertPool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pool != nil && time.Since(a.read) < authoritiesFor {
		return a.pool, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	config, err := a.kube.CoreV1().ConfigMaps(authenticationNamespace).Get(ctx, authenticationConfig, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read who signs certificates for users: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(config.Data[clientCAKey]))
	a.pool, a.read = pool, time.Now()
	return pool, nil
}
