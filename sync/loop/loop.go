// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/seal"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/health"
	"github.com/mainstay-gitops/mainstay/sync/inventory"
	"github.com/mainstay-gitops/mainstay/sync/source"
	"github.com/mainstay-gitops/mainstay/sync/watch"
)

// Judge decides about drift. policy.Engine does.
type Judge interface {
	Decide(ctx context.Context, change *policy.Change) policy.Decision
	// InForce tells whether a rule that permitted something is still loaded.
	InForce(record *ownership.Record, rule string) bool
	// Denies tells whether any deny rule may speak of an object.
	Denies(record *ownership.Record) bool
	// Changed is closed when other policies come into force.
	Changed() <-chan struct{}
}

// Policies compiles, tests and swaps a GitSync's policies. policy.Engine does.
type Policies interface {
	Load(ctx context.Context, s policy.Source) (policy.Loaded, error)
	Unload(key string)
}

// Permits are the sealed records of values that were permitted.
type Permits interface {
	// Written finds the permit for a value, WrittenDeletion that for an object to
	// be gone, also where its end has come.
	Written(uid types.UID, path string, value *fastjson.Value) (permit.Permit, bool)
	WrittenDeletion(id ownership.ID) (permit.Permit, bool)
	// WrittenFor are all permits of an object.
	WrittenFor(uid types.UID) []permit.Permit
	// Value is how permits write a value.
	Value(v *fastjson.Value) string
	All() []permit.Permit
	Delete(ctx context.Context, p permit.Permit) error
}

// Recorder records what the guard found and did.
type Recorder interface {
	Record(change *policy.Change, decision policy.Decision)
	// Counts of the last 24 hours for a GitSync.
	Refused24h(sync types.NamespacedName) int32
}

// Registration is the webhook's configuration.
type Registration interface {
	// Ensure covers every declared resource before its first object is written.
	Ensure(ctx context.Context) error
	// State says whether the API server refuses without Mainstay: Fail, Ignore
	// or Off, and why.
	State() (mode, message string)
	// Changed is closed at the next change of State.
	Changed() <-chan struct{}
	// Sees tells whether the webhook may be asked about a resource at all.
	Sees(resource schema.GroupResource) bool
}

// Off is the way out: while it is in force, nothing is written.
type Off interface {
	State(now time.Time) (active bool, reason string, until time.Time)
	// Asked is what is asked for, also where that is over.
	Asked() (reason string, from, until time.Time, ok bool)
	// Remove takes away what is over.
	Remove(ctx context.Context, now time.Time) error
}

// Suspended are the GitSyncs that nothing is enforced for, for a while.
type Suspended interface {
	State(sync types.NamespacedName, now time.Time) (suspend.Suspension, bool)
	// Changed is closed when one begins, changes or ends.
	Changed() <-chan struct{}
}

// Deps are what the loop works with. All are required.
type Deps struct {
	// Client reads and writes, uncached.
	Client client.Client
	// Config and HTTPClient reach the API server for watches and raw writes.
	Config     *rest.Config
	HTTPClient *http.Client
	Mapper     meta.RESTMapper

	Index        *ownership.Index
	Inventory    *inventory.Store
	Source       *source.Store
	Applier      *apply.Applier
	Policies     Policies
	Judge        Judge
	Permits      Permits
	Grants       Grants
	Recorder     Recorder
	Registration Registration
	Off          Off
	Suspended    Suspended
	Events       events.EventRecorder
	Registerer   prometheus.Registerer
	// Key seals the policies that come from repositories.
	Key *seal.Key
	// Await returns when policies, permits and what policies read are known:
	// nothing is judged or applied before.
	Await func(ctx context.Context) error
}

// Options of the loop.
type Options struct {
	// Namespace of Mainstay. Required.
	Namespace string
	// Account is the full user name that writes objects where a GitSync names
	// none. Default: the account mainstay of Namespace.
	Account string
	// Parallelism of dry-runs and applies. Default 32.
	Parallelism int
	// TenantFileSources lets GitSyncs outside Namespace read repositories from
	// this process's disk.
	TenantFileSources bool
	// AfterOutage is how long nothing that has ended is put back once a repository
	// that could not be read can be read again.
	AfterOutage time.Duration
	// Labels are those of GitSyncs that the metric mainstay_gitsync_labels has, and
	// what they are called there.
	Labels map[string]string
	// Notices are how long before its end a suspension is told of, the longest
	// first.
	Notices []time.Duration
	// Clock by which exceptions end. Default time.Now.
	Clock func() time.Time
	// Workers that compare and revert. Default 8.
	Workers int
}

// Loop is the sync loop. It needs leadership.
type Loop struct {
	Deps
	o       Options
	metrics *metrics
	guard   *guard
	watcher *watch.Watcher
	// health of the applied objects; its news have a GitSync looked at again.
	health *health.Board
	told   *news

	mu sync.Mutex
	// passes hold what the last pass over each GitSync left behind.
	passes map[types.NamespacedName]*pass
	// waiters are the GitSyncs that wait for another, by that one.
	waiters map[types.NamespacedName]map[types.NamespacedName]bool
	ready   chan struct{}

	aggregated aggregated
	// news are GitSyncs to look at now.
	news chan event.GenericEvent
}

// pass is the memory of a GitSync between two looks at its repository.
type pass struct {
	// mu is held while the inventory of this GitSync is being changed.
	mu sync.Mutex
	// reach remembers whether the repository can be read.
	reach reach
	// commit and generation that were brought in without an error.
	commit     string
	generation int64
	// policies tells what the last look at the policy folders gave.
	policies policiesResult
	// failures in a row; the next try is not before notBefore.
	failures  int
	notBefore time.Time
	// failed is the commit that failed last, and said the message of its Event.
	failed, said string
	// request is the value of the requested-at annotation that was handled, push
	// the time of the last push webhook.
	request string
	push    time.Time
	// verified tells what the last look at the signatures gave.
	verified verified
	// remembered tells that the inventory was asked once.
	remembered bool
	// pruning tells that objects are still leaving.
	pruning bool
	// observed is what was found last in mode Observe, due that it is time to
	// look again.
	observed *observation
	due      bool
	// answered is what people had accepted and confirmed at the last try.
	answered string
	// soon tells that another GitSync waits for this one.
	soon atomic.Bool
	// tally counts what was done for the revision counted.
	counted string
	tally   tally
	// frozen is what was said last of a commit that waits for policies; held
	// that one does, and thawed that policies or grants have changed since.
	frozen       string
	held, thawed atomic.Bool
	// stale tells that somebody touched the ChangePolicy that carries the
	// policies of the repository.
	stale atomic.Bool

	// nextLook is when the repository is looked at again; until then news of
	// the objects is all that there is to tell.
	nextLook    time.Time
	news, asked atomic.Bool
	// unhealthySince is when the applied objects were found not to be healthy;
	// zero while they are.
	unhealthySince time.Time
	// late tells that the status says since when that is too long.
	late bool
	// reminder has the status written when time alone has changed something.
	reminder *time.Timer
	// waitsFor are the objects that a commit waits for, waitingSince when that
	// began.
	waitsFor     []ownership.ID
	waitingSince time.Time
	// rendered is what the last rendering depended on; of the commit applied
	// last, while nothing has failed since.
	rendered rendered
	// history is what the status has to say of the revision applied last.
	history *v1alpha1.AppliedRevision
}

// New checks the options and makes a Loop that Start runs.
func New(d Deps, o Options) (*Loop, error) {
	for name, missing := range map[string]bool{
		"Client": d.Client == nil, "Config": d.Config == nil, "HTTPClient": d.HTTPClient == nil,
		"Mapper": d.Mapper == nil, "Index": d.Index == nil, "Inventory": d.Inventory == nil,
		"Source": d.Source == nil, "Applier": d.Applier == nil, "Policies": d.Policies == nil,
		"Judge": d.Judge == nil, "Permits": d.Permits == nil, "Grants": d.Grants == nil, "Recorder": d.Recorder == nil,
		"Registration": d.Registration == nil, "Off": d.Off == nil, "Suspended": d.Suspended == nil, "Events": d.Events == nil,
		"Key": d.Key == nil, "Await": d.Await == nil,
	} {
		if missing {
			return nil, fmt.Errorf("loop: Deps.%s is required", name)
		}
	}
	if o.Namespace == "" {
		return nil, errors.New("loop: Options.Namespace is required")
	}
	if o.Account == "" {
		o.Account = "system:serviceaccount:" + o.Namespace + ":mainstay"
	}
	if o.Parallelism <= 0 {
		o.Parallelism = 32
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Workers <= 0 {
		o.Workers = 8
	}
	l := &Loop{
		Deps: d, o: o, metrics: newMetrics(d.Registerer, o.Labels),
		passes:  map[types.NamespacedName]*pass{},
		waiters: map[types.NamespacedName]map[types.NamespacedName]bool{},
		ready:   make(chan struct{}),
		news:    make(chan event.GenericEvent, newsKept),
	}
	l.guard, l.told = newGuard(l), newNews()
	l.health = health.NewBoard(l.healthChanged)
	var err error
	l.watcher, err = watch.New(watch.Options{Config: d.Config, Client: d.HTTPClient, Handler: l.guard})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// newsKept is how many GitSyncs may wait to be looked at out of turn.
const newsKept = 1024

// NeedLeaderElection tells the manager that one replica runs the loop.
func (l *Loop) NeedLeaderElection() bool { return true }

// Start watches declared resources and reverts drift until ctx ends. Syncs
// wait until what is live was compared once, so that a restart knows what is
// permitted before it applies anything.
func (l *Loop) Start(ctx context.Context) error {
	if err := l.Await(ctx); err != nil {
		return fmt.Errorf("wait for policies: %w", err)
	}
	if err := l.recall(ctx); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.guard.run(ctx, l.o.Workers)
	}()
	go l.sweep(ctx)
	go l.followClock(ctx)
	first, strictness := true, l.strictness()
	for {
		changed, policies, suspended, turned := l.Index.Changed(), l.Judge.Changed(), l.Suspended.Changed(), l.Grants.Turned()
		if err := l.follow(ctx); err != nil {
			return fmt.Errorf("follow declared resources: %w", err)
		}
		if first {
			first = false
			close(l.ready)
			go l.settle(ctx)
		}
		select {
		case <-ctx.Done():
			<-done
			return nil
		case <-changed:
			l.guard.resume()
			l.guard.adopted()
		case <-policies:
			l.guard.again()
		case <-suspended:
			l.guard.again()
		case <-turned:
			l.guard.again()
		}
		if now := l.strictness(); now != strictness {
			strictness = now
			l.guard.again()
		}
	}
}

// settle gives back what starting needed: for a moment every object is in
// memory twice, and then each is looked at once. The runtime would keep all of
// that for the process's life.
func (l *Loop) settle(ctx context.Context) {
	if l.watcher.Synced(ctx) != nil {
		return
	}
	debug.FreeOSMemory()
	if l.guard.idle(ctx) == nil {
		debug.FreeOSMemory()
	}
}

// manyObjects is the number of written objects after which a sync gives its
// memory back.
const manyObjects = 1000

// strictness of all GitSyncs in one string: when it changes, what stood or was
// only recorded has to be judged again.
func (l *Loop) strictness() string {
	var b strings.Builder
	for _, s := range l.Index.Syncs() {
		fmt.Fprintf(&b, "%s %s %s;", s.Key(), s.Mode, s.Undeclared)
	}
	return b.String()
}

// follow watches the resources of which an object was applied: the others may
// not be installed yet.
func (l *Loop) follow(ctx context.Context) error {
	kinds := map[schema.GroupVersionResource]string{}
	for _, s := range l.Index.Syncs() {
		if s.Mode == v1alpha1.ModeObserve {
			continue // nothing is reverted
		}
		for _, e := range l.Index.Entries(s.Key()) {
			if e.Applied != nil && !e.Released {
				kinds[e.GVR()] = e.Kind
			}
		}
	}
	l.guard.kinds(kinds)
	return l.watcher.Follow(ctx, slices.Collect(maps.Keys(kinds)))
}

func (l *Loop) pass(key types.NamespacedName) *pass {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.passes[key]
	if p == nil {
		p = &pass{}
		l.passes[key] = p
	}
	return p
}

// remember lets a new leader go on where the last one ended: what the inventory
// says was applied is not rendered again.
func (p *pass) remember(gs *v1alpha1.GitSync, index *ownership.Index) {
	if p.remembered {
		return
	}
	p.remembered = true
	key := client.ObjectKeyFromObject(gs)
	known, ok := index.Sync(key)
	if !ok || known.Applied.Commit == "" {
		return
	}
	for _, e := range index.Entries(key) {
		if e.Attempted != nil || unfinished(e) {
			return // a sync was cut off
		}
	}
	p.commit, p.generation, p.request = known.Applied.Commit, known.AppliedSpec, gs.Status.LastHandledRequest
}

func (l *Loop) off() bool {
	active, _, _ := l.Off.State(l.now())
	return active
}

// sync brings the ref's commit into the cluster. It returns the revision that
// was looked at, and what kept it from being applied.
func (l *Loop) sync(ctx context.Context, gs *v1alpha1.GitSync, p *pass) (ownership.Revision, error) {
	request, err := l.request(ctx, gs, p)
	if err != nil {
		return ownership.Revision{}, err
	}
	snapshot, err := l.fetch(ctx, gs, p, request)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return ownership.Revision{}, l.givesAway(ctx, gs, err)
	}
	revision := ownership.Revision(snapshot.Revision)
	revision.Author = authorName(revision.Author)
	if p.done(gs, revision.Commit) {
		return revision, nil
	}
	if err := l.dependenciesReady(ctx, gs, revision); err != nil {
		return revision, err
	}
	l.reconciling(ctx, gs, revision)
	if err := l.accept(ctx, gs, p, request, snapshot); err != nil {
		return revision, err
	}
	p.stale.Store(false)
	p.policies = l.loadPolicies(ctx, gs, snapshot)
	if err := p.policies.holds(gs); err != nil {
		return revision, err
	}

	if l.untouched(gs, p, snapshot.FS) {
		return revision, l.carryOver(ctx, gs, p, revision)
	}
	objects, kept, err := l.render(ctx, gs, p, snapshot)
	if err != nil {
		return revision, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a, err := l.attempt(gs, revision, objects, kept)
	if err != nil {
		return revision, l.givesAway(ctx, gs, l.moving(ctx, a, err))
	}
	p.rendered.roots.declare(a)
	if a.observe {
		if err := l.observe(ctx, p, a); err != nil {
			return revision, err
		}
		l.observedEvent(ctx, gs, p, revision)
		p.brought(gs, revision)
		return revision, nil
	}
	p.observed = nil
	if err := l.maySync(a); err != nil {
		return revision, err
	}
	if err := l.foresee(ctx, a); err != nil {
		return revision, err
	}
	if err := l.goesOn(ctx, gs, a); err != nil {
		return revision, err
	}
	l.sayPlan(ctx, gs, a)
	defer func() { p.summarize(revision, a.tally) }()
	if err := l.frozen(ctx, p, a); err != nil {
		return revision, err
	}
	for _, stage := range a.stages() {
		if err := l.bring(ctx, p, a, stage); err != nil {
			return revision, err
		}
	}
	if err := l.waits(ctx, a); err != nil {
		return revision, err
	}
	if err := l.maySync(a); err != nil {
		return revision, err
	}
	if err := l.prune(ctx, a); err != nil {
		return revision, err
	}
	if err := l.finish(ctx, a); err != nil {
		return revision, err
	}
	p.brought(gs, revision)
	l.announce(ctx, gs, a)
	if a.tally.written() >= manyObjects {
		debug.FreeOSMemory()
	}
	return revision, nil
}

// authorName is a git author without the address: refusals show it to people
// who need not know addresses.
func authorName(author string) string {
	if name, _, ok := strings.Cut(author, " <"); ok && name != "" {
		return name
	}
	return author
}

// bring takes the changed objects of one stage into the cluster: plan, ask,
// persist, cover, apply.
func (l *Loop) bring(ctx context.Context, p *pass, a *attempt, stage stage) error {
	if err := l.maySync(a); err != nil {
		return err
	}
	if err := l.plan(ctx, a, a.changed(stage)); err != nil {
		return errors.Join(err, l.abandon(ctx, a))
	}
	a.setAside()
	a.adopts()
	if len(a.changed(stage)) == 0 {
		return nil
	}
	if err := l.frozenStage(ctx, p, a, stage); err != nil {
		return errors.Join(err, l.abandon(ctx, a))
	}
	anew := a.anew(stage)
	a.markAnew(anew)
	if err := l.persist(ctx, a); err != nil {
		return err
	}
	if err := a.conflicts(stage, l.Index); err != nil {
		return errors.Join(err, l.abandon(ctx, a))
	}
	if err := l.Registration.Ensure(ctx); err != nil {
		return &failure{"RegistrationFailed", fmt.Errorf("cover the declared kinds by the webhook: %w", err)}
	}
	if len(anew) > 0 {
		if err := l.makeWay(ctx, a, anew); err != nil {
			return err
		}
	}
	if err := l.outrank(ctx, a, stage); err != nil {
		return err
	}
	return l.applyInOrder(ctx, a, stage)
}

// done tells that a commit was brought in under the present spec.
func (p *pass) done(gs *v1alpha1.GitSync, commit string) bool {
	return p.commit == commit && p.generation == gs.Generation && !p.pruning && !p.due && !p.stale.Load() &&
		p.request == gs.Annotations[v1alpha1.RequestedAtAnnotation]
}

// failure is an error with the reason that the condition carries.
type failure struct {
	reason string
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }
