// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Origin says how a change reached Mainstay.
type Origin string

// The origins of a change.
const (
	// OriginRequest is an admission request: before it happens.
	OriginRequest Origin = "request"
	// OriginDrift was found by the sync loop: it has happened.
	OriginDrift Origin = "drift"
	// OriginSync is what a commit would change: git says so, and only deny rules
	// are asked whether now is the time.
	OriginSync Origin = "sync"
)

// Operation is the admission operation; drift uses the same words.
type Operation string

// The operations.
const (
	Create Operation = "CREATE"
	Update Operation = "UPDATE"
	Delete Operation = "DELETE"
	// Connect is a use of a pod's exec, attach or portforward.
	Connect Operation = "CONNECT"
	// Sync is what a grant calls every operation of a commit.
	Sync Operation = "SYNC"
)

// User is who sends a request, as authentication found it.
type User struct {
	Username string
	UID      string
	Groups   []string
	Extra    map[string][]string
}

// ServiceAccount returns the namespace and name of a service account.
func (u *User) ServiceAccount() (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(u.Username, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != ""
}

// Person tells whether a user counts as a person: everybody but service
// accounts, nodes and the control plane's own components. It is the only place
// that says so.
func (u *User) Person() bool {
	switch {
	case u == nil:
		return false
	case strings.HasPrefix(u.Username, "system:serviceaccount:"),
		strings.HasPrefix(u.Username, "system:node:"):
		return false
	}
	switch u.Username {
	case "system:apiserver", "system:kube-controller-manager", "system:kube-scheduler",
		"system:cloud-controller-manager":
		return false
	}
	return true
}

// Field is one changed field that git does not say.
type Field struct {
	Path fieldset.Path
	Op   fieldset.Op
	// From and To are the values before and after; nil where there is none.
	From, To *fastjson.Value
	// Git is what the baseline has there; nil where it has nothing.
	Git *fastjson.Value
	// Declared tells that git sets the field.
	Declared bool
	// Manager is the field manager that wrote To, as far as managedFields tell.
	// It is a hint: anyone can choose the name.
	Manager string
}

// Change is one attempted or observed change to one declared object. Values
// belong to the parsers of its documents; a Change does not outlive them.
type Change struct {
	Origin      Origin
	Operation   Operation
	SubResource string
	DryRun      bool
	// User is nil for drift.
	User *User
	// Kind and Resource as they are declared.
	Kind     schema.GroupVersionKind
	Resource schema.GroupVersionResource
	// Object is the state asked for or found, OldObject the one before; for
	// drift the baseline. Nil where there is none. For scale they are the
	// Scale objects; Fields speak of the parent.
	Object, OldObject *fastjson.Value
	// Options of the request; nil for drift.
	Options *fastjson.Value
	// Review is the text of the AdmissionReview that all of this is from, if
	// any; it may be used again as soon as the documents may.
	Review []byte
	// Pod is the name of the pod for the subresources of pods, whose Record is
	// the declared workload that the pod belongs to.
	Pod string
	// Fields that differ from git. Empty for an update means that git says all
	// of it; a delete has none.
	Fields []Field
	// Record is the declared object. Required.
	Record *ownership.Record
	// NamespaceLabels and NamespaceAnnotations of the object's namespace, where
	// they are known.
	NamespaceLabels, NamespaceAnnotations map[string]string
	// Time of the judgement: the only clock that policies see.
	Time time.Time
	// Replaced are the keys of the sources that the commit of an OriginSync
	// itself changes or removes: what it takes back has no say about it.
	Replaced []string
}

// OfGit tells that a change is what a commit says: nothing but deny rules can
// speak against it.
func (c *Change) OfGit() bool { return c.Origin == OriginSync }

// Use tells that a change is no change but the use of a pod of the declared
// workload, such as exec: git says nothing about it, and only deny rules do.
func (c *Change) Use() bool {
	return (c.Pod != "" || c.Operation == Connect) && c.Operation != Delete && len(c.Fields) == 0
}

// ID of the declared object.
func (c *Change) ID() ownership.ID { return c.Record.ID }

// Mode in which the object is held.
func (c *Change) Mode() v1alpha1.Mode { return c.Record.Mode() }

// Fields turns differences into the fields that git does not say: a difference
// whose new value the applied or the attempted revision has as well is left
// out, whoever wrote it. It parses the baselines, and only where there is a
// difference; the fields' Git values belong to the caller. An unreadable baseline leaves nothing out.
func Fields(differences []fieldset.Difference, record *ownership.Record) []Field {
	if len(differences) == 0 {
		return nil
	}
	appliedParser, attemptedParser := baselines.Get(), baselines.Get()
	defer baselines.Put(appliedParser)
	defer baselines.Put(attemptedParser)
	applied := baseline(appliedParser, record.Applied)
	attempted := baseline(attemptedParser, record.Attempted)
	var fields []Field
	for _, d := range differences {
		if Gesture(record.ID, &d) {
			continue
		}
		if unbinds(record.ID, &d) {
			// Git need not set the finalizer for it to stay.
			fields = append(fields, Field{Path: d.Path, Op: d.Op, From: d.From, To: d.To, Git: detached(d.From), Declared: true})
			continue
		}
		var git *fastjson.Value
		if applied != nil {
			git = fieldset.At(applied, d.Path)
			if fieldset.Equal(git, d.To) {
				continue
			}
		}
		if attempted != nil {
			next := fieldset.At(attempted, d.Path)
			if fieldset.Equal(next, d.To) {
				continue
			}
			if applied == nil {
				git = next
			}
		}
		fields = append(fields, Field{
			Path: d.Path, Op: d.Op, From: d.From, To: d.To, Git: detached(git),
			Declared: Declares(record, d.Path),
		})
	}
	return fields
}

// Gesture tells whether a difference is no drift on a GitSync, also where git
// declares the GitSync: an operator's gesture to suspend it, to have it look
// now or to accept what a commit takes over or prunes, which others judge, or
// the finalizer by which Mainstay lets its objects go before it goes.
func Gesture(id ownership.ID, d *fieldset.Difference) bool {
	if !gitSync(id) || len(d.Path) < 2 || d.Path[0].Field != "metadata" {
		return false
	}
	switch {
	case d.Path[1].Field == "annotations" && len(d.Path) == 3:
		switch d.Path[2].Field {
		case v1alpha1.SuspendAnnotation, v1alpha1.RequestedAtAnnotation, v1alpha1.AdoptAnnotation, v1alpha1.ConfirmAnnotation:
			return true
		}
	case d.Path[1].Field == "finalizers" && len(d.Path) == 3:
		return d.From == nil && isFinalizer(d.To)
	case d.Path[1].Field == "finalizers" && len(d.Path) == 2:
		// Nothing tells that the list is a set.
		added := d.To.GetArray()
		return len(d.From.GetArray()) == 0 && len(added) == 1 && isFinalizer(added[0])
	}
	return false
}

// unbinds tells whether a difference takes Mainstay's finalizer off a GitSync:
// its objects would be held by nobody when it goes.
func unbinds(id ownership.ID, d *fieldset.Difference) bool {
	if !gitSync(id) || len(d.Path) < 2 || d.Path[0].Field != "metadata" || d.Path[1].Field != "finalizers" {
		return false
	}
	if len(d.Path) == 3 {
		return d.To == nil && isFinalizer(d.From)
	}
	return slices.ContainsFunc(d.From.GetArray(), isFinalizer) && !slices.ContainsFunc(d.To.GetArray(), isFinalizer)
}

func gitSync(id ownership.ID) bool {
	return id.Kind == "GitSync" && id.Group == v1alpha1.GroupVersion.Group
}

func isFinalizer(v *fastjson.Value) bool {
	return string(v.GetStringBytes()) == v1alpha1.GitSyncFinalizer
}

// Declares tells whether git declares the field at path. Owner references,
// finalizers and Mainstay's own labels and annotations always count: they
// decide about the object's life and ownership.
func Declares(record *ownership.Record, path fieldset.Path) bool {
	if len(path) >= 2 && path[0].Field == "metadata" {
		switch path[1].Field {
		case "ownerReferences", "finalizers":
			return true
		case "labels", "annotations":
			if len(path) >= 3 && strings.HasPrefix(path[2].Field, prefix) {
				return true
			}
		}
	}
	return record.AppliedSet.Touches(path) || record.AttemptedSet.Touches(path)
}

// ours tells whether a field is a label or an annotation of Mainstay's own, or
// a whole map of them with one in it. They tie an object to its GitSync, so no
// exception covers them, however wide it is.
func ours(f Field) bool {
	if len(f.Path) < 2 || f.Path[0].Field != "metadata" || f.Path[1].Field != "labels" && f.Path[1].Field != "annotations" {
		return false
	}
	if len(f.Path) > 2 {
		return strings.HasPrefix(f.Path[2].Field, prefix)
	}
	for _, v := range []*fastjson.Value{f.From, f.To, f.Git} {
		if v == nil || v.Type() != fastjson.TypeObject {
			continue
		}
		found := false
		v.GetObject().Visit(func(key []byte, _ *fastjson.Value) { found = found || strings.HasPrefix(string(key), prefix) })
		if found {
			return true
		}
	}
	return false
}

// prefix of Mainstay's own labels and annotations.
const prefix = "mainstay.dev/"

// baselines keeps the memory of parsers between requests, nothing else.
var baselines fastjson.ParserPool

func baseline(parser *fastjson.Parser, content *ownership.Content) *fastjson.Value {
	if content == nil || len(content.Baseline) == 0 {
		return nil
	}
	v, err := parser.ParseBytes(content.Baseline)
	if err != nil {
		return nil
	}
	return v
}

// detached is a copy of a value that no parser owns; most are one scalar.
func detached(v *fastjson.Value) *fastjson.Value {
	if v == nil {
		return nil
	}
	c, err := fastjson.ParseBytes(fieldset.Canonical(nil, v))
	if err != nil {
		return nil // Canonical writes JSON
	}
	return c
}
