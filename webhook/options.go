// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Judge says whether a change may stand.
type Judge interface {
	Decide(ctx context.Context, change *policy.Change) policy.Decision
	// Prompt tells that Decide returns soon after ctx ends, for a review of a
	// usual size.
	Prompt(change *policy.Change) bool
}

// Recorder records a decision; change and decision are reused after it returns.
type Recorder interface {
	Record(change *policy.Change, decision policy.Decision)
}

// Permits remembers what a decision permits although git says otherwise.
type Permits interface {
	Keep(ctx context.Context, change *policy.Change, decision policy.Decision) error
}

// Off says whether the way out mainstay-off is in force.
type Off interface {
	State(now time.Time) (active bool, reason string, until time.Time)
}

// Options of a Handler. The first seven are required.
type Options struct {
	Index    *ownership.Index
	Judge    Judge
	Recorder Recorder
	Permits  Permits
	// Namespace is Mainstay's own.
	Namespace string
	// SyncAccount is the full user name of Mainstay's own account.
	SyncAccount string
	// Token is the secret part of every path: who does not know it is not
	// answered. It is the same on all replicas, and long enough for CheckToken.
	Token string

	// BreakGlass says how grants are asked for and approved.
	BreakGlass BreakGlass
	// Off is never in force where it is nil.
	Off Off
	// Mask makes the keyed hashes that stand for values that may not be shown.
	Mask func(value []byte) string
	// CanGet tells whether a user may read an object, and so its values in a
	// refusal. Nobody may where it is nil. It is asked for refusals only.
	CanGet func(ctx context.Context, user *policy.User, resource schema.GroupVersionResource, namespace, name string) bool
	// Suspensions of GitSyncs; none can begin where it is nil.
	Suspensions Suspensions
	// MaySuspend tells whether a user has the verb suspend on a GitSync. Nobody
	// has where it is nil. An error is not a permit.
	MaySuspend func(ctx context.Context, user *policy.User, namespace, name string) (bool, error)
	// CheckPolicies compiles and tests a source of policies without putting it
	// in force; nil checks nothing.
	CheckPolicies func(ctx context.Context, source policy.Source) error
	// AccountExists tells whether there is a ServiceAccount; nil does not know.
	AccountExists func(ctx context.Context, namespace, name string) bool
	// Pod returns the metadata of a pod as it is now, never from a cache that
	// may be behind. It is asked only where a deny rule may speak of the use of
	// a pod, which is refused where it is nil or fails; where the error says that
	// there is no such pod, it is the API server's to say so.
	Pod func(ctx context.Context, namespace, name string) (*metav1.PartialObjectMetadata, error)
	// NamespaceTerminating tells whether a namespace is being deleted; false
	// where it is nil.
	NamespaceTerminating func(name string) bool
	// NamespaceMeta returns the labels and annotations of a namespace as
	// policies see them.
	NamespaceMeta func(name string) (labels, annotations map[string]string)
	// InFlight bounds the bytes of the reviews that are judged at one time;
	// what comes on top waits, and is refused when its time is over. Large ones
	// have a quarter as much for themselves, and again for what they are
	// parsed to. Default 64 MiB.
	InFlight int64
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Clock is time.Now where it is nil.
	Clock func() time.Time
	// Error is told of failures inside the handler; nil ignores them.
	Error func(ctx context.Context, err error)
}

// Times of the handler.
const (
	// catchUp is how long a request waits for an index that lags behind.
	catchUp = 200 * time.Millisecond
	// answerMargin is kept from the request's time for the answer's way back.
	answerMargin = 150 * time.Millisecond
	// answerGrace is how long after the end of its time a judge may still take.
	answerGrace    = 50 * time.Millisecond
	defaultTimeout = 3 * time.Second
	// minTimeout and maxTimeout are those of a webhook's configuration.
	minTimeout = time.Second
	maxTimeout = 30 * time.Second
)

const defaultInFlight = 64 << 20

// Handler serves POST /admit/<token>/<entry> for the entries below. It is safe for
// concurrent use.
type Handler struct {
	options Options
	metrics *metrics
	flight  *flight
	judges  judges
}

// New returns a Handler.
func New(options Options) (*Handler, error) {
	switch {
	case options.Index == nil:
		return nil, errors.New("webhook: Options.Index is required")
	case options.Judge == nil:
		return nil, errors.New("webhook: Options.Judge is required")
	case options.Recorder == nil:
		return nil, errors.New("webhook: Options.Recorder is required")
	case options.Permits == nil:
		return nil, errors.New("webhook: Options.Permits is required")
	case options.Namespace == "":
		return nil, errors.New("webhook: Options.Namespace is required")
	case options.SyncAccount == "":
		return nil, errors.New("webhook: Options.SyncAccount is required")
	}
	if err := CheckToken(options.Token); err != nil {
		return nil, fmt.Errorf("webhook: Options.Token %w", err)
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	if options.InFlight <= 0 {
		options.InFlight = defaultInFlight
	}
	m, err := newMetrics(options.Registerer)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return &Handler{options: options, metrics: m, flight: newFlight(options.InFlight), judges: make(judges)}, nil
}

// Path is where the API server finds an entry.
func Path(token, entry string) string { return pathPrefix + token + "/" + entry }

// tokenSize is 128 bits in hexadecimal.
const tokenSize = 32

// CheckToken tells why a token can't be part of a Path: it has to be unguessable,
// and the API server wants small letters and digits.
func CheckToken(token string) error {
	if len(token) < tokenSize || strings.Trim(token, "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return fmt.Errorf("must be at least %d small letters and digits", tokenSize)
	}
	return nil
}

const pathPrefix = "/admit/"

// The entries of the registration.
const (
	EntryHeld    = "held"
	EntryOwn     = "own"
	EntryCreated = "created"
	EntryScale   = "scale"
	// EntryStatus judges what a write of status or finalize does to metadata.
	EntryStatus = "status"
	// EntryConnect judges the pod subresources that a deny rule asks for.
	EntryConnect = "connect"
	// EntryObserved judges for GitSyncs that only observe; their objects carry
	// no label.
	EntryObserved = "observed"
	// EntryCorrect is the mutating one: it puts git's values back.
	EntryCorrect = "correct"
)
