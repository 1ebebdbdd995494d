// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// request is one AdmissionReview's request. Its values belong to the parser.
type request struct {
	root  *fastjson.Value
	entry string
	// body is the text that root was parsed from.
	body []byte
	// uid is the JSON of the request's uid, quotes included.
	uid         []byte
	operation   policy.Operation
	subResource string
	kind        schema.GroupVersionKind
	resource    schema.GroupVersionResource
	// id of the object; of the parent's resource for scale, whose Kind is then
	// that of the Scale; of the pod for connect.
	id     ownership.ID
	dryRun bool
	// object and oldObject are nil where there is none.
	object, oldObject *fastjson.Value
	started           time.Time
	// judging is closed when a judge that was not waited for is done with the
	// request; nil where all were.
	judging <-chan struct{}
}

// decode reads a review. Every field that decides is checked here, so that
// nothing is guessed later.
func decode(parser *fastjson.Parser, entry string, body []byte) (*request, error) {
	review, err := parser.ParseBytes(body)
	if err != nil {
		return nil, fmt.Errorf("parse review: %w", err)
	}
	if string(review.GetStringBytes("kind")) != "AdmissionReview" ||
		string(review.GetStringBytes("apiVersion")) != "admission.k8s.io/v1" {
		return nil, errors.New("the body is not an AdmissionReview of admission.k8s.io/v1")
	}
	root := review.Get("request")
	if root == nil || root.Type() != fastjson.TypeObject {
		return nil, errors.New("review has no request")
	}
	for _, v := range []*fastjson.Value{review, root, root.Get("kind"), root.Get("resource"), root.Get("userInfo")} {
		if err := unambiguous(v); err != nil {
			return nil, err
		}
	}
	uid := root.Get("uid")
	if uid == nil || uid.Type() != fastjson.TypeString || len(uid.GetStringBytes()) == 0 {
		return nil, errors.New("request has no uid")
	}
	req := &request{
		root:        root,
		entry:       entry,
		body:        body,
		uid:         fieldset.Canonical(nil, uid),
		operation:   policy.Operation(root.GetStringBytes("operation")),
		subResource: string(root.GetStringBytes("subResource")),
		kind: schema.GroupVersionKind{
			Group:   string(root.GetStringBytes("kind", "group")),
			Version: string(root.GetStringBytes("kind", "version")),
			Kind:    string(root.GetStringBytes("kind", "kind")),
		},
		resource: schema.GroupVersionResource{
			Group:    string(root.GetStringBytes("resource", "group")),
			Version:  string(root.GetStringBytes("resource", "version")),
			Resource: string(root.GetStringBytes("resource", "resource")),
		},
		dryRun:  root.GetBool("dryRun"),
		started: time.Now(),
	}
	req.object, req.oldObject = req.value("object"), req.value("oldObject")
	if err := req.check(); err != nil {
		return nil, err
	}
	req.id = ownership.ID{
		Group: req.kind.Group, Kind: req.kind.Kind,
		Namespace: string(root.GetStringBytes("namespace")), Name: req.name(),
	}
	// A Namespace's own review names itself as its namespace.
	if req.kind.Group == "" && req.kind.Kind == "Namespace" {
		req.id.Namespace = ""
	}
	// Of a pod's subresources the object is something else, and what it is
	// called is up to whoever sends it.
	if entry == EntryConnect {
		req.id = ownership.ID{Kind: "Pod", Namespace: req.id.Namespace, Name: string(root.GetStringBytes("name"))}
	}
	if req.id.Name == "" {
		return nil, errors.New("the request's object has no name")
	}
	return req, nil
}

// maxMembers is more than any object of the envelope has.
const maxMembers = 32

// unambiguous tells whether an object has each of its members once: of two, a
// reader can take either.
func unambiguous(v *fastjson.Value) error {
	o := v.GetObject()
	if o == nil {
		return nil
	}
	if o.Len() > maxMembers {
		return fmt.Errorf("review has an object of %d members", o.Len())
	}
	var (
		seen [maxMembers][]byte
		n    int
		err  error
	)
	o.Visit(func(key []byte, _ *fastjson.Value) {
		for _, k := range seen[:n] {
			if bytes.Equal(k, key) {
				err = fmt.Errorf("review has %q twice", key)
			}
		}
		seen[n], n = key, n+1
	})
	return err
}

func (req *request) check() error {
	if req.kind.Kind == "" || req.kind.Version == "" || req.resource.Resource == "" {
		return errors.New("request has no kind or resource")
	}
	if req.entry == EntryConnect {
		return req.checkConnect()
	}
	switch {
	case req.operation == policy.Create && req.object == nil,
		req.operation == policy.Update && req.object == nil:
		return fmt.Errorf("%s without an object", req.operation)
	case req.operation == policy.Delete && req.oldObject == nil,
		req.operation == policy.Update && req.oldObject == nil:
		return fmt.Errorf("%s without an old object", req.operation)
	case req.operation != policy.Create && req.operation != policy.Update && req.operation != policy.Delete:
		return fmt.Errorf("operation %q is not registered", req.operation)
	}
	return nil
}

// name is the object's own: a deletecollection's requests have none.
func (req *request) name() string {
	for _, doc := range []*fastjson.Value{req.oldObject, req.object} {
		if doc != nil {
			if name := doc.GetStringBytes("metadata", "name"); len(name) > 0 {
				return string(name)
			}
		}
	}
	return string(req.root.GetStringBytes("name"))
}

// value returns a member of the request that is an object, or nil.
func (req *request) value(key string) *fastjson.Value {
	v := req.root.Get(key)
	if v == nil || v.Type() != fastjson.TypeObject {
		return nil
	}
	return v
}

func (req *request) username() string {
	return string(req.root.GetStringBytes("userInfo", "username"))
}

func (req *request) user() *policy.User {
	info := req.root.Get("userInfo")
	user := &policy.User{
		Username: string(info.GetStringBytes("username")),
		UID:      string(info.GetStringBytes("uid")),
		Groups:   texts(info.GetArray("groups")),
	}
	if extra := info.GetObject("extra"); extra != nil {
		user.Extra = make(map[string][]string, extra.Len())
		extra.Visit(func(key []byte, v *fastjson.Value) {
			user.Extra[string(key)] = texts(v.GetArray())
		})
	}
	return user
}

func texts(values []*fastjson.Value) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, string(v.GetStringBytes()))
	}
	return out
}

// deleting tells that the object was being deleted before this request.
func (req *request) deleting() bool {
	return req.oldObject != nil && len(req.oldObject.GetStringBytes("metadata", "deletionTimestamp")) > 0
}

// passesDeletion tells that an object that is being deleted loses finalizers
// and nothing else: whoever finishes its deletion must be able to.
func (req *request) passesDeletion(differences []fieldset.Difference) bool {
	if req.operation != policy.Update || !req.deleting() || len(differences) == 0 {
		return false
	}
	for _, d := range differences {
		if len(d.Path) < 2 || d.Path[0].Field != "metadata" || d.Path[1].Field != "finalizers" {
			return false
		}
	}
	had := map[string]bool{}
	for _, f := range req.oldObject.GetArray("metadata", "finalizers") {
		had[string(f.GetStringBytes())] = true
	}
	for _, f := range req.object.GetArray("metadata", "finalizers") {
		if !had[string(f.GetStringBytes())] {
			return false
		}
	}
	return true
}

// identifier of what a person asked about, for a message.
func describe(resource schema.GroupResource, id ownership.ID) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", resource, id.Name)
	if id.Namespace != "" {
		b.WriteString(" (namespace " + id.Namespace + ")")
	}
	return b.String()
}
