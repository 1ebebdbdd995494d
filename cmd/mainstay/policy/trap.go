// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/policy"
)

// maxWrite bounds the body of a write; the API server takes no more.
const maxWrite = 3 << 20

// trap is a proxy to the API server that no write gets through.
type trap struct {
	user   *policy.User
	base   *url.URL
	reads  *httputil.ReverseProxy
	client *http.Client
	mapper meta.RESTMapper

	mu       sync.Mutex
	attempts []*attempt
	assumed  []string
	failed   error
	said     string
}

func newMapper(config *rest.Config) (meta.RESTMapper, error) {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	groups, err := restmapper.GetAPIGroupResources(client)
	if err != nil {
		return nil, fmt.Errorf("list the kinds of the cluster: %w", err)
	}
	return restmapper.NewDiscoveryRESTMapper(groups), nil
}

func newTrap(config *rest.Config, user *policy.User) (*trap, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	mapper, err := newMapper(config)
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Transport: client.Transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(base) },
	}
	return &trap{user: user, base: base, reads: proxy, client: client, mapper: mapper}, nil
}

// ServeHTTP lets what only reads pass, and catches all else.
func (t *trap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	where, ok := locate(r.URL.Path)
	connects := where.subResource == "exec" || where.subResource == "attach" || where.subResource == "portforward" || where.subResource == "proxy"
	review := where.group == "authorization.k8s.io" || where.group == "authentication.k8s.io"
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && !connects || r.Method == http.MethodPost && review {
		t.reads.ServeHTTP(w, r)
		return
	}
	a, note, err := t.attempt(r, where, ok)
	t.mu.Lock()
	switch {
	case err != nil && t.failed == nil:
		t.failed = err
	case err == nil:
		t.attempts = append(t.attempts, a)
		if note != "" {
			t.assumed = append(t.assumed, note)
		}
	}
	t.mu.Unlock()
	refuse(w)
}

// location is what a path of the API names.
type location struct {
	group, version, namespace, resource, name, subResource string
}

func locate(path string) (location, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var l location
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		l.version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		l.group, l.version, parts = parts[1], parts[2], parts[3:]
	default:
		return l, false
	}
	if len(parts) >= 3 && parts[0] == "namespaces" && parts[2] != "status" && parts[2] != "finalize" {
		l.namespace, parts = parts[1], parts[2:]
	}
	l.resource = parts[0]
	if len(parts) > 1 {
		l.name = parts[1]
	}
	if len(parts) > 2 {
		l.subResource = parts[2]
	}
	return l, true
}

func (t *trap) attempt(r *http.Request, l location, ok bool) (*attempt, string, error) {
	what := r.Method + " " + r.URL.Path
	if !ok || l.name == "" || r.Method != http.MethodPut && r.Method != http.MethodPatch && r.Method != http.MethodDelete ||
		l.subResource != "" && l.subResource != "scale" {
		return nil, "", fmt.Errorf("%s: only updates, patches, scaling and deletions of single objects can be judged here; for others write a fixture and use --input", what)
	}
	gvr := schema.GroupVersionResource{Group: l.group, Version: l.version, Resource: l.resource}
	kind, err := t.mapper.KindFor(gvr)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", what, err)
	}
	a := &attempt{
		operation: policy.Update, subResource: l.subResource, user: t.user, kind: kind, resource: gvr, namespace: l.namespace, name: l.name,
	}
	if a.old, err = t.get(r.Context(), r.URL.Path); err != nil {
		return nil, "", err
	}
	if l.subResource == "scale" {
		if a.parent, err = t.get(r.Context(), strings.TrimSuffix(r.URL.Path, "/scale")); err != nil {
			return nil, "", err
		}
	}
	a.namespaceLabels, a.namespaceAnnotations = t.namespace(r.Context(), l.namespace)
	if r.Method == http.MethodDelete {
		a.operation = policy.Delete
		return a, "", nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxWrite+1))
	if err != nil || len(body) > maxWrite {
		return nil, "", fmt.Errorf("%s: read what is asked for: %d bytes, %w", what, len(body), err)
	}
	if manager := r.URL.Query().Get("fieldManager"); manager != "" {
		a.options, _ = json.Marshal(map[string]string{"fieldManager": manager}) // strings always encode
	}
	note := ""
	a.new, note, err = patched(r, kind, l.subResource, a.old, body)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", what, err)
	}
	return a, note, nil
}

// patched is the object after a write, as the API server would make it; what it
// would add by itself, such as defaults, is not there.
func patched(r *http.Request, kind schema.GroupVersionKind, subResource string, old, body []byte) ([]byte, string, error) {
	contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.Method == http.MethodPut {
		if contentType != "application/json" {
			return nil, "", fmt.Errorf("a write as %s can't be read", contentType)
		}
		return body, "", nil
	}
	switch types.PatchType(contentType) {
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(body)
		if err != nil {
			return nil, "", fmt.Errorf("read JSON patch: %w", err)
		}
		out, err := p.Apply(old)
		return out, "", err
	case types.MergePatchType:
		out, err := jsonpatch.MergePatch(old, body)
		return out, "", err
	case types.StrategicMergePatchType, types.ApplyYAMLPatchType:
		note := ""
		if types.PatchType(contentType) != types.StrategicMergePatchType {
			note = "what a server-side apply would take away, since the manifest no longer has it, is not seen"
			var err error
			if body, err = yaml.YAMLToJSON(body); err != nil {
				return nil, "", fmt.Errorf("read manifest: %w", err)
			}
		}
		typed, err := scheme.Scheme.New(kind)
		if err != nil || subResource != "" {
			// A kind without a type has no other merge than this.
			out, err := jsonpatch.MergePatch(old, body)
			return out, note, err
		}
		out, err := strategicpatch.StrategicMergePatch(old, body, typed)
		return out, note, err
	default:
	}
	return nil, "", fmt.Errorf("a patch as %s can't be read", contentType)
}

// get reads an object from the cluster.
func (t *trap) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base.JoinPath(path).String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := t.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxWrite))
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: %s: %w", path, response.Status, err)
	}
	return body, nil
}

// namespace reads the labels and annotations of a namespace; none where it
// can't be read.
func (t *trap) namespace(ctx context.Context, name string) (labels, annotations map[string]string) {
	if name == "" {
		return nil, nil
	}
	body, err := t.get(ctx, "/api/v1/namespaces/"+name)
	if err != nil {
		return nil, nil
	}
	var o unstructured.Unstructured
	if err := json.Unmarshal(body, &o.Object); err != nil {
		return nil, nil
	}
	return o.GetLabels(), o.GetAnnotations()
}
