// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/library"
)

// DefaultDeadline of one evaluation.
const DefaultDeadline = 50 * time.Millisecond

// Options configure an Engine. The zero value works; it masks every value of a
// Secret with the same text.
type Options struct {
	// Deadline of each evaluation of a request: one source and one kind of rule.
	// Default DefaultDeadline. An evaluation that takes longer never permits. Of
	// drift and of commits one may take twenty times as long: nobody waits for it.
	Deadline time.Duration
	// PersonManagers are the field managers that count as a person's in drift;
	// a * at the end matches any rest. Default: kubectl, kubectl-*, k9s, curl.
	PersonManagers []string
	// ClusterName is input.cluster.name.
	ClusterName string
	// MaskSecret makes the keyed hash that stands for a value of a Secret.
	MaskSecret func([]byte) string
	// AwaitObjects says that SetKnown tells which kinds of data.cluster have
	// been listed. Until one is, policies that read it are not judged by what
	// is missing: their denials refuse, and their exceptions permit nothing.
	AwaitObjects bool
	// DisabledBuiltins are the packages of built-in policies to leave out, for
	// example hpa. An unknown name is an error.
	DisabledBuiltins []string
	// ClusterLabels are input.cluster.labels.
	ClusterLabels map[string]string
	// Registerer of the engine's metrics; nil registers nothing.
	Registerer prometheus.Registerer
}

// Engine judges changes by the policies that are loaded. It is safe for
// concurrent use; loading never blocks judging.
type Engine struct {
	options Options
	cluster *cluster
	// words of input.
	words   *vocabulary
	shipped *library.Library
	// evalOptions are for tests that compare ways of evaluating.
	evalOptions []rego.EvalOption
	// asksAll is for the same: every rule is asked, with the whole input.
	asksAll bool
	// sources is what Decide reads.
	sources atomic.Pointer[snapshot]

	mu          sync.Mutex // guards writes of sources and what is below
	needs       []schema.GroupKind
	needsChange chan struct{}
	changed     chan struct{}
	metrics     *engineMetrics
	// clusterTerm is input.cluster.
	clusterTerm *ast.Term
	// known are the kinds of data.cluster that have been listed.
	known atomic.Pointer[map[schema.GroupKind]bool]
}

// snapshot is what is in force at one time. It is immutable but for its cache.
type snapshot struct {
	list []*source // the built-ins first, then by key
	// scopes caches what is known of the sources in one scope together, by their
	// positions.
	scopes sync.Map
	// unions caches what the rules that can match together read.
	unions unions
}

// scopeReads is what the sources that speak of a change read together, and the digest
// of them all.
type scopeReads struct {
	reads  reads
	digest string
}

// inScope returns the sources that speak of a change with their positions.
func (s *snapshot) inScope(c *Change) ([]asked, []int, *scopeReads) {
	sources, positions := make([]asked, 0, len(s.list)), make([]int, 0, len(s.list))
	key := make([]byte, 0, 64)
	for i, source := range s.list {
		if source.speaksOf(c) {
			sources = append(sources, asked{source, source.denials != nil, source.exceptions != nil})
			positions = append(positions, i)
			key = binary.AppendUvarint(key, uint64(i))
		}
	}
	if known, ok := s.scopes.Load(string(key)); ok {
		return sources, positions, known.(*scopeReads)
	}
	all := &scopeReads{}
	digests := make([]SourceDigest, 0, len(sources))
	for _, source := range sources {
		all.reads.union(&source.input)
		digests = append(digests, SourceDigest{source.Key, source.loaded.Digest})
	}
	all.digest = digestOf(digests)
	s.scopes.Store(string(key), all)
	return sources, positions, all
}

// Source is a set of policies that is compiled, tested and swapped as one.
type Source struct {
	// Key names the source: gitsync/<namespace>/<name> or
	// changepolicy/<namespace>/<name>.
	Key string
	// Sync limits the source to the objects of one GitSync; nil: no such limit.
	Sync *types.NamespacedName
	// Namespace limits the source to objects of one namespace, which are also all
	// that it sees in data.cluster; empty: no limit.
	Namespace string
	// Modules are Rego by file name; *_test.rego are their tests.
	Modules map[string]string
	// Library are the names of policies that ship with Mainstay.
	Library []string
	// Parameters are data.parameters of this source alone.
	Parameters v1alpha1.Parameters
	// Exceptions are the declarative form, compiled to Rego.
	Exceptions []v1alpha1.Exception
}

// Loaded tells what a Load put in force.
type Loaded struct {
	// Rules in the order of files and lines.
	Rules []RuleInfo
	// Tests that ran, all of them successfully.
	Tests int
	// Digest of the Rego; equal digests are equal policies.
	Digest string
}

// RuleInfo is one entry rule of a source.
type RuleInfo struct {
	// Name as decisions show it, for example hpa.exception.
	Name string
	// Title from the rule's metadata; empty where it has none.
	Title string
	// Kind is exception or deny.
	Kind string
	// Until is the end that is written in the rule; nil where there is none, or
	// where it is computed.
	Until *time.Time
}

// LoadError says what is wrong with a source. It has at least one item.
type LoadError struct {
	Items []Problem
}

// Problem is one error in one place of a source.
type Problem struct {
	File     string
	Row, Col int
	Message  string
	// Hint says what to do about it; empty where nothing better than the
	// message is known.
	Hint string
	// Rule is the stable name of what found it, for example misnamed-entry or
	// rego-parse; empty where it has none.
	Rule string
}

// String is file:row:col: message (hint).
func (p Problem) String() string {
	text := p.Message
	switch {
	case p.File != "" && p.Row > 0:
		text = fmt.Sprintf("%s:%d:%d: %s", p.File, p.Row, p.Col, p.Message)
	case p.File != "":
		text = p.File + ": " + p.Message
	}
	if p.Hint != "" {
		text += " (" + p.Hint + ")"
	}
	return text
}

// Error is the first item, and how many more there are.
func (e *LoadError) Error() string {
	switch len(e.Items) {
	case 0:
		return "policies do not load"
	case 1:
		return e.Items[0].String()
	default:
		return fmt.Sprintf("%s; and %d more", e.Items[0], len(e.Items)-1)
	}
}

// New returns an Engine with the built-in policies compiled.
func New(ctx context.Context, o Options) (*Engine, error) {
	if o.Deadline <= 0 {
		o.Deadline = DefaultDeadline
	}
	if o.PersonManagers == nil {
		o.PersonManagers = []string{"kubectl", "kubectl-*", "k9s", "curl"}
	}
	if o.MaskSecret == nil {
		o.MaskSecret = func([]byte) string { return "(hidden)" }
	}
	e := &Engine{options: o, cluster: newCluster(o.MaskSecret), words: newVocabulary(), needsChange: make(chan struct{}), changed: make(chan struct{})}
	labels := ast.NewObjectWithCapacity(len(o.ClusterLabels))
	for key, value := range o.ClusterLabels {
		labels.Insert(ast.StringTerm(key), ast.StringTerm(value))
	}
	e.clusterTerm = ast.ObjectTerm(
		ast.Item(ast.InternedTerm("name"), ast.StringTerm(o.ClusterName)),
		ast.Item(ast.InternedTerm("labels"), ast.NewTerm(labels)),
	)
	modules, err := builtinModules(o.DisabledBuiltins)
	if err != nil {
		return nil, err
	}
	if e.shipped, err = library.Load(); err != nil {
		return nil, err
	}
	builtin, err := e.compile(ctx, Source{Key: builtinKey, Modules: modules})
	if err != nil {
		return nil, fmt.Errorf("compile built-in policies: %w", err)
	}
	e.swap([]*source{builtin})
	e.metrics = newEngineMetrics(e, o.Registerer)
	return e, nil
}

// Load compiles a source, runs its tests and puts it in force in one step, in
// place of what was loaded under the same key. The error is a *LoadError, or
// the context's; whatever it is, what was loaded before stays in force.
func (e *Engine) Load(ctx context.Context, s Source) (Loaded, error) {
	if s.Key == "" || s.Key == builtinKey {
		return Loaded{}, &LoadError{Items: []Problem{{Message: fmt.Sprintf("source has the key %q", s.Key)}}}
	}
	if old := e.same(s); old != nil {
		return old.loaded, nil
	}
	compiled, err := e.compile(ctx, s)
	if err != nil {
		return Loaded{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swap(append(e.without(s.Key), compiled))
	return compiled.loaded, nil
}

// Check compiles a source and runs its tests, and puts nothing in force. The
// error is that of Load.
func (e *Engine) Check(ctx context.Context, s Source) error {
	if e.same(s) != nil {
		return nil
	}
	_, err := e.compile(ctx, s)
	return err
}

// same finds the loaded source that has the key, the scope and the Rego of s.
func (e *Engine) same(s Source) *source {
	for _, old := range e.sources.Load().list {
		if old.Key != s.Key || old.Namespace != s.Namespace || (old.Sync == nil) != (s.Sync == nil) ||
			old.Sync != nil && *old.Sync != *s.Sync {
			continue
		}
		if texts, err := e.regoOf(s); err == nil && digest(texts) == old.loaded.Digest {
			return old
		}
	}
	return nil
}

// Unload drops a source. An unknown key is ignored.
func (e *Engine) Unload(key string) {
	if key == builtinKey {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.swap(e.without(key))
}

// without returns a new slice of all sources but one.
func (e *Engine) without(key string) []*source {
	var rest []*source
	for _, s := range e.sources.Load().list {
		if s.Key != key {
			rest = append(rest, s)
		}
	}
	return rest
}

// swap puts sources in force.
func (e *Engine) swap(sources []*source) {
	slices.SortFunc(sources, func(a, b *source) int {
		if a.builtin() != b.builtin() {
			if a.builtin() {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	})
	e.sources.Store(&snapshot{list: sources})
	close(e.changed)
	e.changed = make(chan struct{})
	union := map[schema.GroupKind]bool{}
	for _, s := range sources {
		for _, gk := range s.needs {
			union[gk] = true
		}
	}
	needs := slices.SortedFunc(maps.Keys(union), func(a, b schema.GroupKind) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind))
	})
	if !slices.Equal(needs, e.needs) {
		e.needs = needs
		close(e.needsChange)
		e.needsChange = make(chan struct{})
	}
}

// Needs are the kinds that the loaded policies read through data.cluster,
// sorted. The group is empty for the core group.
func (e *Engine) Needs() []schema.GroupKind {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.needs)
}

// NeedsChanged returns a channel that is closed when Needs changes next. Take
// it before calling Needs, so that no change is missed.
func (e *Engine) NeedsChanged() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.needsChange
}

// SetObject puts an object into data.cluster. The namespace is empty for
// cluster-scoped objects. It neither keeps nor changes object; managedFields
// are left out and the values of Secrets masked. What is no JSON is dropped:
// policies then see no such object.
func (e *Engine) SetObject(group, kind, namespace, name string, object map[string]any) {
	e.cluster.set(group, kind, namespace, name, object)
}

// DeleteObject takes an object out of data.cluster.
func (e *Engine) DeleteObject(group, kind, namespace, name string) {
	e.cluster.delete(group, kind, namespace, name)
	// What stood by the object has to be judged again.
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}

// problems turns any error of compiling into a *LoadError; a context's error
// stays what it is.
func problems(err error) error {
	var le *LoadError
	if err == nil || errors.As(err, &le) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &LoadError{Items: []Problem{{Message: err.Error()}}}
}
