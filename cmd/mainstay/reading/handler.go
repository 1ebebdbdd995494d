// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fastjson"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/record"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// ConfigMap is the name of the one in Mainstay's namespace that says how to
// reach the replicas, and the Keys are its keys: the PEM of the authority of
// their certificates, the name in these, and the URL where there is one.
const (
	ConfigMap     = "mainstay-decisions"
	KeyCA         = "ca.crt"
	KeyServerName = "serverName"
	KeyURL        = "url"
	// Port of each replica.
	Port = 8443
)

// Judge judges again; *policy.Engine is one.
type Judge interface {
	Decide(ctx context.Context, c *policy.Change) policy.Decision
	Again(ctx context.Context, input []byte) (policy.Decision, []policy.Answer, error)
	RulesFor(record *ownership.Record) []policy.RuleIn
}

// Options of a handler. All are required.
type Options struct {
	Ring  *record.Ring
	Judge Judge
	Index *ownership.Index
	// Permits are the live permits of an object.
	Permits func(uid types.UID) []permit.Permit
	// Permitted finds the live permit for a value at a path.
	Permitted func(uid types.UID, path string, value *fastjson.Value) (permit.Permit, bool)
	// Grants are those in force at a time.
	Grants func(now time.Time) []policy.Grant
	// Suspended tells whether a GitSync is suspended.
	Suspended func(sync types.NamespacedName, now time.Time) (suspend.Suspension, bool)
	// Live reads an object as JSON; nil where there is none.
	Live func(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) ([]byte, error)
	// Who tells who sends a request; nil for nobody that is known.
	Who func(r *http.Request) (*policy.User, error)
	// May asks whether a user may do something.
	May func(ctx context.Context, user *policy.User, what authorizationv1.ResourceAttributes) (bool, error)
	// Mask makes the keyed hashes that stand for the values of Secrets.
	Mask func([]byte) string
	// Clock is time.Now, but for tests.
	Clock func() time.Time
}

type handler struct{ Options }

// New returns a handler.
func New(o Options) (http.Handler, error) {
	for name, missing := range map[string]bool{
		"Ring": o.Ring == nil, "Judge": o.Judge == nil, "Index": o.Index == nil, "Permits": o.Permits == nil,
		"Permitted": o.Permitted == nil, "Grants": o.Grants == nil, "Suspended": o.Suspended == nil, "Live": o.Live == nil,
		"Who": o.Who == nil, "May": o.May == nil, "Mask": o.Mask == nil, "Clock": o.Clock == nil,
	} {
		if missing {
			return nil, fmt.Errorf("reading: Options.%s is required", name)
		}
	}
	h := &handler{o}
	mux := http.NewServeMux()
	mux.Handle("GET /v1/decisions", h.known(h.decisions))
	mux.Handle("GET /v1/decisions/{id}", h.known(h.decision))
	mux.Handle("GET /v1/object", h.known(h.object))
	return mux, nil
}

// Failure is what an answer that is none has.
type Failure struct {
	Message string `json:"message"`
}

// refusal is an answer with a status and a message for whoever asks.
type refusal struct {
	code    int
	message string
}

func (r *refusal) Error() string { return r.message }

func refuse(code int, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// known answers who is known only.
func (h *handler) known(serve func(w http.ResponseWriter, r *http.Request, v *viewer) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, err := h.Who(r)
		switch {
		case err != nil:
			err = refuse(http.StatusServiceUnavailable, "who you are could not be found out: %v", err)
		case user == nil:
			err = refuse(http.StatusUnauthorized, "you are nobody that the cluster knows: use the credentials of your kubeconfig")
		default:
			err = serve(w, r, &viewer{h: h, user: user, answers: map[authorizationv1.ResourceAttributes]bool{}})
		}
		if err == nil {
			return
		}
		code := http.StatusInternalServerError
		if known, ok := errors.AsType[*refusal](err); ok {
			code = known.code
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(Failure{err.Error()}) // who has gone needs no answer
	})
}

// viewer is who asks, and what they may see.
type viewer struct {
	h       *handler
	user    *policy.User
	answers map[authorizationv1.ResourceAttributes]bool
}

// may asks once for each thing.
func (v *viewer) may(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	if known, ok := v.answers[what]; ok {
		return known, nil
	}
	allowed, err := v.h.May(ctx, v.user, what)
	if err != nil {
		return false, refuse(http.StatusServiceUnavailable, "what you may see could not be found out: %v", err)
	}
	v.answers[what] = allowed
	return allowed, nil
}

// decisions tells whether the viewer may get decisions about a namespace's
// objects; empty stands for all objects, those without a namespace as well.
func (v *viewer) decisions(ctx context.Context, namespace string) (bool, error) {
	for _, ns := range []string{"", namespace} {
		if ok, err := v.may(ctx, authorizationv1.ResourceAttributes{
			Verb: "get", Group: "mainstay.dev", Resource: "decisions", Namespace: ns,
		}); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// gets tells whether the viewer may get an object.
func (v *viewer) gets(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (bool, error) {
	what := authorizationv1.ResourceAttributes{
		Verb: "get", Group: resource.Group, Version: resource.Version, Resource: resource.Resource, Namespace: namespace,
	}
	if ok, err := v.may(ctx, what); ok || err != nil {
		return ok, err
	}
	what.Name = name
	return v.may(ctx, what)
}

func forbidden(user, namespace string) error {
	if namespace == "" {
		return refuse(http.StatusForbidden, "%s may not get decisions.mainstay.dev of all namespaces: name one with -n, or ask for the ClusterRole mainstay-view", user)
	}
	return refuse(http.StatusForbidden, "%s may not get decisions.mainstay.dev in namespace %s: ask for the ClusterRole mainstay-view", user, namespace)
}
