// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/render"
)

// attempt is one try to bring a revision into the cluster. entries is the
// inventory as it will be; each step replaces entries, it never changes one.
type attempt struct {
	sync     ownership.Sync
	revision ownership.Revision
	spec     int64 // generation of the GitSync's spec
	prune    bool
	// observe tells that nothing may be written, tenant that only objects of the
	// GitSync's own namespace may be declared; notInstalled counts the
	// objects of kinds that neither the cluster nor the commit has.
	observe bool
	tenant  bool
	// requested tells that somebody asks for this sync: git's write is tried again
	// where others have changed it.
	requested    bool
	notInstalled int32
	// others are the versions of kinds that other GitSyncs declare.
	others versions
	// brought are the definitions in the commit, by the kinds that they define.
	brought map[schema.GroupKind]ownership.ID
	// adopt says what becomes of objects that exist already; accepted that they
	// may become what git says, confirmed that as much may be pruned as the
	// commit has it.
	adopt               v1alpha1.Adopt
	accepted, confirmed bool
	maxPrune            *intstr.IntOrString
	// ends tells that the GitSync itself goes away.
	ends bool
	// pending are objects that exist already and are left alone.
	pending []pending
	// conflicting are objects that other GitSyncs have.
	conflicting []*ownership.Record
	// movedFrom are the GitSyncs that objects are taken over from.
	movedFrom map[types.NamespacedName]bool
	// kept are kinds of which objects are taken over from the inventory, with
	// one of each.
	kept map[schema.GroupKind]*ownership.Entry
	// roots are the objects that were rendered, by the folders of their roots.
	roots map[string][]ownership.ID
	// before is the inventory at the start.
	before  map[ownership.ID]*ownership.Entry
	entries map[ownership.ID]*ownership.Entry
	// planned are the changed objects by identity.
	planned map[ownership.ID]*planned
	// depends tells what has to be healthy before an object is written; only,
	// where it is set, which of the planned ones are to be written now.
	depends dependencies
	only    map[ownership.ID]bool
	// leaving are declared by the inventory but no longer by git; fates say what
	// becomes of them.
	leaving []ownership.ID
	fates   map[ownership.ID]fate
	// doubts are about those that may be on their way to another GitSync.
	doubts []doubt
	// asked are the objects that deny rules were asked about by the API server's
	// answer.
	asked map[ownership.ID]bool
	// persisted tells that the cluster's inventory knows of this attempt.
	persisted bool

	tally tally
}

// planned is a changed object between its dry-run and its apply.
type planned struct {
	// done tells that the API server was asked.
	done  bool
	carry []carried
	// handOver are the fields that leave git and that somebody else may set;
	// live is the object that was judged, where there are any.
	handOver []fieldset.Path
	live     []byte
	// version of the live object that was judged; empty if there was none.
	version string
	// adopts tells that the object is none of Mainstay's yet, differs in which
	// fields it is not what git says, shown for people.
	adopts  bool
	differs []string
	// moves tells that another GitSync hands the object over.
	moves bool
	// anew tells that a field can't be changed, and that git allows the object to
	// be made anew.
	anew bool
	// ownMode by the annotation of the new content.
	ownMode v1alpha1.Mode
	// found is the object that was there before Mainstay's first write, where a
	// deny rule may ask.
	found []byte
}

// stage is a part of an attempt: what has to exist first, then the rest.
type stage int

const (
	stageFoundations stage = iota // namespaces and CRDs
	stageRest
)

func (*attempt) stages() []stage { return []stage{stageFoundations, stageRest} }

func stageOf(id ownership.ID) stage {
	if foundation(id) {
		return stageFoundations
	}
	return stageRest
}

func foundation(id ownership.ID) bool {
	return id.Group == "" && id.Kind == "Namespace" || definition(id)
}

func definition(id ownership.ID) bool {
	return id.Group == "apiextensions.k8s.io" && id.Kind == "CustomResourceDefinition"
}

// changed are the planned objects of a stage, in a stable order.
func (a *attempt) changed(s stage) []ownership.ID {
	var ids []ownership.ID
	for id := range a.planned {
		if stageOf(id) == s && (a.only == nil || a.only[id]) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y ownership.ID) int { return strings.Compare(x.String(), y.String()) })
	return ids
}

// begin is an attempt that knows what the GitSync says and what is applied.
func (l *Loop) begin(gs *v1alpha1.GitSync, revision ownership.Revision) *attempt {
	key := client.ObjectKeyFromObject(gs)
	a := &attempt{
		revision:  revision,
		spec:      gs.Generation,
		prune:     gs.Spec.Prune == nil || *gs.Spec.Prune,
		requested: l.pass(key).requested(gs),
		observe:   observing(gs),
		tenant:    l.tenant(gs),
		before:    l.Index.Entries(key),
		entries:   map[ownership.ID]*ownership.Entry{},
		planned:   map[ownership.ID]*planned{},

		adopt:     cmp.Or(gs.Spec.Adopt, v1alpha1.AdoptEqual),
		accepted:  names(gs.Annotations[v1alpha1.AdoptAnnotation], revision.Commit),
		confirmed: names(gs.Annotations[v1alpha1.ConfirmAnnotation], revision.Commit),
		maxPrune:  gs.Spec.MaxPrune,
		movedFrom: map[types.NamespacedName]bool{},
	}
	a.sync = ownership.Sync{
		Namespace: gs.Namespace, Name: gs.Name, Labels: gs.Labels,
		Mode: gs.Spec.Enforcement.Mode, Contact: gs.Spec.Contact,
		Undeclared:     cmp.Or(gs.Spec.Enforcement.Undeclared, v1alpha1.UndeclaredRejectPeople),
		Controllers:    cmp.Or(gs.Spec.Enforcement.Controllers, v1alpha1.ControllersRefuse),
		ServiceAccount: serviceAccount(gs),
		URL:            gs.Spec.Source.URL, WebURL: gs.Spec.Source.WebURL,
	}
	if known, ok := l.Index.Sync(key); ok {
		a.sync.Applied, a.sync.AppliedSpec, a.sync.Generation = known.Applied, known.AppliedSpec, known.Generation
		a.sync.Adopted = known.Adopted
	}
	return a
}

// attempt compares the rendered objects, and those that were kept, with the
// inventory. Nothing is written.
func (l *Loop) attempt(gs *v1alpha1.GitSync, revision ownership.Revision, objects []render.Object, kept []*ownership.Entry) (*attempt, error) {
	a := l.begin(gs, revision)
	if len(objects)+len(kept) == 0 && len(a.before) > 0 {
		return nil, &failure{emptyRender, fmt.Errorf(
			"%s declares nothing under %s, where %d objects are held: nothing is pruned; delete the GitSync to let them go",
			revision.Name, gs.Spec.Source.Path, len(a.before))}
	}
	kinds := newKinds(l.Mapper, objects)
	a.brought, a.roots = map[schema.GroupKind]ownership.ID{}, map[string][]ownership.ID{}
	for kind, b := range kinds.brought {
		a.brought[kind] = b.id
	}
	objects, err := render.Settle(objects, gs.Spec.TargetNamespace, kinds.namespaced)
	if err != nil {
		return nil, &failure{"RenderFailed", fmt.Errorf("render: %w", err)}
	}
	a.others = l.versions(a.sync.Key())
	problems := a.keep(kept, kinds, l.Index)
	for i := range objects {
		err := a.add(&objects[i], kinds, l.Index)
		if f, ok := errors.AsType[*failure](err); ok && a.observe && f.reason == kindNotInstalled {
			a.notInstalled++
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s:%d: %w", objects[i].File, objects[i].Line, err))
			continue
		}
		if root := objects[i].Root; root.Type != v1alpha1.RenderPlain {
			a.roots[root.Folder] = append(a.roots[root.Folder], a.entries[objects[i].ID].ID)
		}
	}
	if len(problems) > 0 {
		return a, limited("Invalid", problems)
	}
	for _, id := range sorted(a.before) {
		if a.entries[id] == nil {
			a.leaving = append(a.leaving, id)
			a.entries[id] = a.before[id]
		}
	}
	if a.depends, problems = dependenciesOf(a.entries, a.leaving); len(problems) > 0 {
		return nil, limited("Invalid", problems)
	}
	return a, nil
}

// serviceAccount is the full user name that writes a GitSync's objects; empty
// for Mainstay's own.
func serviceAccount(gs *v1alpha1.GitSync) string {
	if gs.Spec.ServiceAccountName == "" {
		return ""
	}
	return "system:serviceaccount:" + gs.Namespace + ":" + gs.Spec.ServiceAccountName
}

// add puts one rendered object into the attempt.
func (a *attempt) add(o *render.Object, kinds *kinds, index *ownership.Index) error {
	resource, err := a.may(o.ID, o.GroupVersionKind(), kinds, index)
	if err != nil {
		return err
	}
	if err := a.besides(o); err != nil {
		return err
	}
	object := o.DeepCopy()
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1alpha1.SyncLabel] = ownership.LabelValue(a.sync.Key(), o.ID)
	object.SetLabels(labels)
	desired, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("encode %s: %w", o.ID, err)
	}
	sum := sha256.Sum256(desired)
	content := &ownership.Content{
		Revision: a.revision, File: o.File, Line: o.Line,
		Digest: hex.EncodeToString(sum[:]), Desired: desired,
	}
	ownMode := v1alpha1.Mode(o.GetAnnotations()[v1alpha1.ModeAnnotation]) // render knows that it is one
	old := a.before[o.ID]
	if entry := a.same(old, content, o, ownMode); entry != nil {
		a.entries[o.ID] = entry
		return nil
	}
	content.Lines, content.Text = o.Lines(), o.Text()
	entry := &ownership.Entry{
		ID: o.ID, Version: o.GroupVersionKind().Version, Resource: resource, Attempted: content, OwnMode: ownMode,
	}
	p := &planned{ownMode: ownMode}
	if from, ok := index.Lookup(o.ID); ok && from.Sync.Key() != a.sync.Key() {
		old, p.moves = from.Entry, true // it is handed over, as it is
		a.movedFrom[from.Sync.Key()] = true
	}
	if old != nil && !old.Released && old.Version == entry.Version && old.Applied != nil {
		// How strictly it is held is part of what is applied.
		entry.Applied, entry.OwnMode = old.Applied, old.OwnMode
	}
	a.entries[o.ID] = entry
	a.planned[o.ID] = p
	return nil
}

// may checks that an object can be declared here, and returns its resource.
func (a *attempt) may(id ownership.ID, gvk schema.GroupVersionKind, kinds *kinds, index *ownership.Index) (resource string, err error) {
	if resource, err = kinds.resource(id, gvk); err != nil {
		return "", err
	}
	if a.tenant && id.Namespace != a.sync.Namespace {
		return "", fmt.Errorf("%s is outside namespace %s: a GitSync there may only declare objects of that namespace", id, a.sync.Namespace)
	}
	if err := a.conflict(id, index); err != nil {
		return "", err
	}
	return resource, a.others.conflict(gvk)
}

// same returns the entry of an object that need not be planned anew: its
// manifest is the one that was applied or, where nothing is written, looked at.
func (a *attempt) same(old *ownership.Entry, content *ownership.Content, o *render.Object, ownMode v1alpha1.Mode) *ownership.Entry {
	if old == nil || old.Pruning || old.Released || old.HandedTo != "" || old.Version != o.GroupVersionKind().Version {
		return nil
	}
	known := old.Applied
	if old.Attempted != nil {
		if !a.observe {
			return nil // that sync was cut off
		}
		known = old.Attempted
		if old.Applied != nil {
			ownMode = old.OwnMode // of what was applied
		}
	}
	if known == nil || known.Digest != content.Digest || a.requested && len(known.Mutated) > 0 {
		return nil
	}
	dated := asOf(known, a.revision)
	if dated == known && known.File == o.File && known.Line == o.Line && known.Text == o.Text() && old.OwnMode == ownMode {
		return old
	}
	// The object only moved within the repository, or its text changed without
	// its meaning.
	moved := *dated
	moved.File, moved.Line, moved.Lines, moved.Text = o.File, o.Line, o.Lines(), o.Text()
	entry := *old
	entry.OwnMode = ownMode
	if old.Attempted != nil {
		entry.Attempted = &moved
	} else {
		entry.Applied = &moved
	}
	return &entry
}

// asOf is a content as a commit has it. What a younger commit brought is none of
// its history, as after a branch was rewound or an older tag pinned: then the
// commit itself is named as the one to look at.
func asOf(c *ownership.Content, r ownership.Revision) *ownership.Content {
	if c == nil || !c.Revision.Time.After(r.Time) {
		return c
	}
	dated := *c
	dated.Revision = r
	return &dated
}

// conflict is an error where another GitSync declared the object first, unless
// that one is outranked.
func (a *attempt) conflict(id ownership.ID, index *ownership.Index) error {
	r, ok := index.Lookup(id)
	if !ok || r.Sync.Key() == a.sync.Key() || r.HandedTo == a.sync.Key().String() || a.outranks(r) {
		return nil
	}
	a.conflicting = append(a.conflicting, r)
	content := r.Current()
	return &failure{"Conflict", fmt.Errorf("%s is declared already by GitSync %s at %s:%d: remove it from one of the two",
		id, r.Sync.Key(), content.File, content.Line)}
}

// versions are the versions in which kinds are declared, with one object of
// each: the webhook's rules name exactly one version of a resource.
type versions map[schema.GroupKind]*ownership.Record

// versions that others than the GitSync key declare. Those of tenants don't
// bind a GitSync of Mainstay's own namespace, so that no team can keep the
// platform's from using a newer one.
func (l *Loop) versions(key types.NamespacedName) versions {
	v := versions{}
	for _, sync := range l.Index.Syncs() {
		if sync.Key() == key || key.Namespace == l.o.Namespace && sync.Namespace != key.Namespace {
			continue
		}
		for _, e := range l.Index.Entries(sync.Key()) {
			if v[e.GroupKind()] == nil && !e.Pruning && !e.Released {
				v[e.GroupKind()] = &ownership.Record{Sync: sync, Entry: e}
			}
		}
	}
	return v
}

// conflict is an error where another GitSync declares the kind in another
// version.
func (v versions) conflict(gvk schema.GroupVersionKind) error {
	r := v[gvk.GroupKind()]
	if r == nil || r.Version == gvk.Version {
		return nil
	}
	content := r.Current()
	return &failure{"Conflict", fmt.Errorf("%s is declared in version %s here and in version %s by GitSync %s at %s:%d: choose one of them for all",
		gvk.GroupKind(), gvk.GroupVersion(), r.APIVersion(), r.Sync.Key(), content.File, content.Line)}
}

// conflicts looks again when the inventory is written: two GitSyncs may have
// begun at the same time.
func (a *attempt) conflicts(s stage, index *ownership.Index) error {
	var problems []error
	for _, id := range a.changed(s) {
		if err := a.conflict(id, index); err != nil {
			content := a.entries[id].Attempted
			problems = append(problems, fmt.Errorf("%s:%d: %w", content.File, content.Line, err))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return limited("Conflict", problems)
}

// all are the entries to save.
func (a *attempt) all() []*ownership.Entry {
	return slices.Collect(maps.Values(a.entries))
}

// unchanged tells that the cluster's inventory says all of this already.
func (a *attempt) unchanged(index *ownership.Index) bool {
	known, ok := index.Sync(a.sync.Key())
	if !ok || !maps.Equal(a.before, a.entries) {
		return false
	}
	x, y := *known, a.sync
	x.Generation, y.Generation = 0, 0
	xs, errX := json.Marshal(x)
	ys, errY := json.Marshal(y)
	return errX == nil && errY == nil && string(xs) == string(ys)
}

// kindNotInstalled is the reason where the API server does not serve a kind.
const kindNotInstalled = "KindNotInstalled"

// kinds resolves kinds that the API server serves or that the commit brings.
type kinds struct {
	mapper  meta.RESTMapper
	brought map[schema.GroupKind]broughtKind
	// known are the answers of the mapper within one attempt.
	known map[schema.GroupVersionKind]*meta.RESTMapping
}

type broughtKind struct {
	id         ownership.ID
	resource   string
	namespaced bool
	versions   map[string]bool
	file       string
}

func newKinds(mapper meta.RESTMapper, objects []render.Object) *kinds {
	k := &kinds{mapper: mapper, brought: map[schema.GroupKind]broughtKind{}, known: map[schema.GroupVersionKind]*meta.RESTMapping{}}
	for i := range objects {
		o := &objects[i]
		if !definition(o.ID) {
			continue
		}
		group := text(o.Object, "spec", "group")
		kind := text(o.Object, "spec", "names", "kind")
		b := broughtKind{
			id:         o.ID,
			resource:   text(o.Object, "spec", "names", "plural"),
			namespaced: text(o.Object, "spec", "scope") == "Namespaced",
			versions:   map[string]bool{}, file: o.File,
		}
		if versions, ok, err := unstructured.NestedSlice(o.Object, "spec", "versions"); ok && err == nil {
			for _, v := range versions {
				if m, ok := v.(map[string]any); ok && m["served"] == true {
					b.versions[text(m, "name")] = true
				}
			}
		}
		k.brought[schema.GroupKind{Group: group, Kind: kind}] = b
	}
	return k
}

// text is the string at a path, empty where there is none.
func text(object map[string]any, path ...string) string {
	s, ok, err := unstructured.NestedString(object, path...)
	if !ok || err != nil {
		return ""
	}
	return s
}

// resource of an object; it also checks that the object has a namespace
// exactly if its kind wants one.
func (k *kinds) resource(id ownership.ID, gvk schema.GroupVersionKind) (string, error) {
	var resource string
	var namespaced bool
	b, brought := k.brought[gvk.GroupKind()]
	if brought && b.versions[gvk.Version] {
		resource, namespaced = b.resource, b.namespaced
	} else {
		mapping, err := k.mapping(gvk)
		switch {
		case meta.IsNoMatchError(err):
			return "", &failure{kindNotInstalled, fmt.Errorf(
				"kind %s in %s is not installed in this cluster: install its CustomResourceDefinition first, or put it into this repository", gvk.Kind, gvk.GroupVersion())}
		case err != nil:
			return "", &failure{kindNotInstalled, unanswered(gvk, err)}
		}
		resource, namespaced = mapping.Resource.Resource, mapping.Scope.Name() == meta.RESTScopeNameNamespace
	}
	switch {
	case namespaced && id.Namespace == "":
		return "", fmt.Errorf("%s has no metadata.namespace: write one, or set spec.targetNamespace; Mainstay does not guess it", id)
	case !namespaced && id.Namespace != "":
		return "", fmt.Errorf("%s has a metadata.namespace, but its kind has none: remove it", id)
	}
	return resource, nil
}

// namespaced tells whether the kind of an object has namespaces, if it is known.
func (k *kinds) namespaced(o *render.Object) (namespaced, known bool) {
	gvk := o.GroupVersionKind()
	if b, ok := k.brought[gvk.GroupKind()]; ok && b.versions[gvk.Version] {
		return b.namespaced, true
	}
	mapping, err := k.mapping(gvk)
	if err != nil {
		return false, false // resource says so
	}
	return mapping.Scope.Name() == meta.RESTScopeNameNamespace, true
}

// unanswered is an error where it can't be found out whether a kind is served:
// mostly the API server that another one calls for it is away.
func unanswered(gvk schema.GroupVersionKind, err error) error {
	gv := gvk.GroupVersion()
	failed, ok := errors.AsType[*apiutil.ErrResourceDiscoveryFailed](err)
	if !ok || (*failed)[gv] == nil {
		return fmt.Errorf("find kind %s in %s: %w", gvk.Kind, gv, err)
	}
	return fmt.Errorf("not known whether kind %s exists: the API server does not say what is in %s: %w: tried again; see kubectl get apiservice %s.%s",
		gvk.Kind, gv, (*failed)[gv], gv.Version, gv.Group)
}

func (k *kinds) mapping(gvk schema.GroupVersionKind) (*meta.RESTMapping, error) {
	if m := k.known[gvk]; m != nil {
		return m, nil
	}
	m, err := k.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err == nil {
		k.known[gvk] = m
	}
	return m, err
}

// limited joins at most 20 problems. The reason is that of the first with one.
func limited(reason string, problems []error) error {
	for _, p := range problems {
		if f, ok := errors.AsType[*failure](p); ok {
			reason = f.reason
			break
		}
	}
	if n := len(problems) - 20; n > 0 {
		problems = append(problems[:20:20], fmt.Errorf("… and %d more", n))
	}
	return &failure{reason, errors.Join(problems...)}
}

// target of an entry, in the name of the GitSync's account.
func (a *attempt) target(e *ownership.Entry) apply.Target { return apply.TargetOf(&a.sync, e) }
