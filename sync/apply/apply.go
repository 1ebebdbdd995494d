// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fastjson"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Options of an Applier.
type Options struct {
	// Client talks to the API server in raw JSON. Its own rate limit should be
	// off: the API server's priority and fairness limits fairly. Required.
	Client rest.Interface
	// Parallelism is the most requests that are under way at once; fewer are
	// while the API server is short of time. Default 64.
	Parallelism int
	// Registerer takes the metrics; none are exported without it.
	Registerer prometheus.Registerer
}

// Applier writes objects. It is safe for concurrent use.
type Applier struct {
	client rest.Interface
	limit  *limiter
}

// New checks the options.
func New(o Options) (*Applier, error) {
	if o.Client == nil {
		return nil, errors.New("apply: Options.Client is required")
	}
	if o.Parallelism <= 0 {
		o.Parallelism = 64
	}
	return &Applier{o.Client, newLimiter(o.Parallelism, o.Registerer)}, nil
}

// Target is where an object is in the API, and in whose name it is written.
type Target struct {
	Resource        schema.GroupVersionResource
	Namespace, Name string
	// As is the full name of the user that is impersonated for writes and
	// dry-runs; empty: Mainstay's own account. Reads are always Mainstay's own.
	As string
}

// TargetOf an entry of a GitSync.
func TargetOf(sync *ownership.Sync, e *ownership.Entry) Target {
	return Target{Resource: e.GVR(), Namespace: e.Namespace, Name: e.Name, As: sync.ServiceAccount}
}

// by has a request sent in the target's name. The API server adds the groups
// of a service account.
func (t Target) by(request *rest.Request) *rest.Request {
	if t.As == "" {
		return request
	}
	return request.SetHeader(transport.ImpersonateUserHeader, t.As)
}

func (t Target) path() string {
	path := "/apis/" + t.Resource.Group + "/" + t.Resource.Version
	if t.Resource.Group == "" {
		path = "/api/" + t.Resource.Version
	}
	if t.Namespace != "" {
		path += "/namespaces/" + url.PathEscape(t.Namespace)
	}
	return path + "/" + t.Resource.Resource + "/" + url.PathEscape(t.Name)
}

// Write says how an object is applied.
type Write struct {
	// DryRun asks what would be.
	DryRun bool
	// ResourceVersion that was judged; another one in the cluster is a
	// conflict. Empty: whatever is there.
	ResourceVersion string
}

// Apply is the one function that writes an object: a full, forced server-side
// apply of desired. Errors are the API server's own.
func (a *Applier) Apply(ctx context.Context, t Target, desired []byte, w Write) (*Answer, error) {
	if w.ResourceVersion != "" {
		var err error
		if desired, err = withResourceVersion(desired, w.ResourceVersion); err != nil {
			return nil, err
		}
	}
	body := escapeControls(desired)
	raw, err := a.do(ctx, func() *rest.Request {
		request := t.by(a.client.Patch(types.ApplyPatchType)).AbsPath(t.path()).
			Param("fieldManager", v1alpha1.FieldManager).
			Param("force", "true").
			Body(body)
		if w.DryRun {
			request = request.Param("dryRun", metav1.DryRunAll)
		}
		return request
	})
	if err != nil {
		return nil, err
	}
	return newAnswer(raw)
}

// Get reads an object as it is.
func (a *Applier) Get(ctx context.Context, t Target) ([]byte, error) {
	return a.do(ctx, func() *rest.Request { return a.client.Get().AbsPath(t.path()) })
}

// Delete deletes the object with that uid (any, where it is empty) in the
// background, and tells whether it is gone: finalizers may keep it for a while.
// An object that is gone already is not an error.
func (a *Applier) Delete(ctx context.Context, t Target, uid types.UID) (gone bool, err error) {
	policy := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &policy}
	options.APIVersion, options.Kind = "v1", "DeleteOptions"
	if uid != "" {
		options.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	body, err := json.Marshal(options)
	if err != nil {
		return false, fmt.Errorf("encode delete options: %w", err)
	}
	raw, err := a.do(ctx, func() *rest.Request {
		return t.by(a.client.Delete()).AbsPath(t.path()).SetHeader("Content-Type", "application/json").Body(body)
	})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, err
	}
	// Some answer with the object although nothing keeps it.
	if fastjson.GetString(raw, "kind") == "Status" {
		return true, nil
	}
	_, err = a.Get(ctx, t)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return false, err
}

// Restore puts the fields that git does not set back to what the baseline has:
// server-side apply alone would leave them to whoever wrote them. live is the
// object that was judged; another one in the cluster is a conflict.
func (a *Applier) Restore(ctx context.Context, t Target, live []byte, fields []Undeclared) error {
	object, err := fastjson.ParseBytes(live)
	if err != nil {
		return fmt.Errorf("parse live object: %w", err)
	}
	patch, err := restorePatch(object, fields)
	if err != nil {
		return err
	}
	_, err = a.patch(ctx, t, patch)
	return err
}

// patch sends a JSON patch that tests the resourceVersion, and returns the
// object as it is then.
func (a *Applier) patch(ctx context.Context, t Target, patch []byte) ([]byte, error) {
	raw, err := a.do(ctx, func() *rest.Request {
		return t.by(a.client.Patch(types.JSONPatchType)).AbsPath(t.path()).
			Param("fieldManager", v1alpha1.FieldManager).
			Body(patch)
	})
	// A patch that does not fit the object any more, its resourceVersion first
	// of all, is refused without a word about the object. What the object's own
	// kind refuses names that kind.
	var status apierrors.APIStatus
	if apierrors.IsInvalid(err) && errors.As(err, &status) {
		if d := status.Status().Details; d == nil || d.Kind == "" {
			return nil, apierrors.NewConflict(t.Resource.GroupResource(), t.Name, err)
		}
	}
	return raw, err
}

// Unlabel takes the ownership label off an object, so that it is no longer
// held. An object that is gone is not an error.
func (a *Applier) Unlabel(ctx context.Context, t Target) error {
	patch := []byte(`{"metadata":{"labels":{"` + v1alpha1.SyncLabel + `":null}}}`)
	_, err := a.do(ctx, func() *rest.Request {
		return t.by(a.client.Patch(types.MergePatchType)).AbsPath(t.path()).
			Param("fieldManager", v1alpha1.FieldManager).
			Body(patch)
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

// Undeclared is a field that git does not set, and the value to put back; nil
// removes it.
type Undeclared struct {
	Path  fieldset.Path
	Value *fastjson.Value
}

type patchOp struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

func restorePatch(object *fastjson.Value, fields []Undeclared) ([]byte, error) {
	version, err := json.Marshal(string(object.GetStringBytes("metadata", "resourceVersion")))
	if err != nil {
		return nil, fmt.Errorf("encode resourceVersion: %w", err)
	}
	ops := []patchOp{{Op: "test", Path: "/metadata/resourceVersion", Value: version}}
	var elements []patchOp // of lists, that come back
	// From the end, so that an index in a list stays right while others go.
	for _, f := range slices.Backward(fields) {

		pointer, there := fieldset.Pointer(object, f.Path)
		switch {
		case there && f.Value == nil:
			ops = append(ops, patchOp{Op: "remove", Path: pointer})
		case there:
			ops = append(ops, patchOp{Op: "replace", Path: pointer, Value: fieldset.Canonical(nil, f.Value)})
		case f.Value != nil:
			parent, ok := fieldset.Pointer(object, f.Path[:len(f.Path)-1])
			last := f.Path[len(f.Path)-1]
			if !ok {
				continue // what held it is gone as well: nothing to put it into
			}
			if last.Keys != nil || last.Value != "" {
				elements = append(elements, patchOp{Op: "add", Path: parent + "/-", Value: fieldset.Canonical(nil, f.Value)})
				continue
			}
			ops = append(ops, patchOp{Op: "add", Path: parent + "/" + fieldset.EscapePointer(last.Field), Value: fieldset.Canonical(nil, f.Value)})
		}
	}
	// At the end of their lists, when all indexes have been used, in the order
	// of the document.
	slices.Reverse(elements)
	return json.Marshal(append(ops, elements...))
}

// escapeControls escapes the characters that JSON may have as they are and YAML
// may not: the API server reads an apply as YAML.
func escapeControls(body []byte) []byte {
	escape := func(r rune) bool {
		return r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff
	}
	if bytes.IndexFunc(body, escape) < 0 {
		return body
	}
	var out bytes.Buffer
	for _, r := range string(body) {
		if escape(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes()
}

func withResourceVersion(desired []byte, version string) ([]byte, error) {
	var arena fastjson.Arena
	v, err := fastjson.ParseBytes(desired)
	if err != nil {
		return nil, fmt.Errorf("parse desired object: %w", err)
	}
	v.Get("metadata").Set("resourceVersion", arena.NewString(version))
	return fieldset.Canonical(nil, v), nil
}

// explain turns the API server's Status into its typed error: with raw bodies
// the client does not.
func explain(raw []byte, err error) error {
	if err == nil {
		return nil
	}
	var status metav1.Status
	if json.Unmarshal(raw, &status) == nil && status.Kind == "Status" && status.Code >= http.StatusBadRequest {
		return &apierrors.StatusError{ErrStatus: status}
	}
	return err
}
