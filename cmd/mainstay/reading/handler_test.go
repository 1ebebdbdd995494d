// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fastjson"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/record"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// serve is a replica that has refused one request of alice's, by that id, asked
// by a user who may do what is named.
func serve(t *testing.T, path string, user *policy.User, rights ...string) *httptest.ResponseRecorder {
	t.Helper()
	engine, err := policy.New(t.Context(), policy.Options{Deadline: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := record.New(record.Options{Policies: engine, Error: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	root := fastjson.MustParse(`{"spec":{"replicas":5}}`)
	c := &policy.Change{
		Origin: policy.OriginRequest, Operation: policy.Update, User: &policy.User{Username: "alice"}, Time: time.Now(),
		Kind: schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Object: root, OldObject: fastjson.MustParse(`{"spec":{"replicas":2}}`),
		Fields: []policy.Field{{Path: fieldset.Path{{Field: "spec"}, {Field: "replicas"}}, Op: fieldset.OpReplace, Declared: true}},
		Record: &ownership.Record{
			Entry: &ownership.Entry{ID: ownership.ID{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"}, Version: "v1", Resource: "deployments"},
			Sync:  &ownership.Sync{Namespace: "mainstay-system", Name: "shop", Mode: "Enforce", Undeclared: "RejectPeople"},
		},
	}
	changed := ring.Changed()
	go func() { _ = ring.Start(t.Context()) }()
	ring.Add(c, policy.Decision{ID: "7f3k2ab", Verdict: policy.Refuse, Class: policy.RuleDefault, Reason: "git says otherwise", Uncovered: c.Fields})
	<-changed
	may := map[string]bool{}
	for _, r := range rights {
		may[r] = true
	}
	h, err := New(Options{
		Ring: ring, Judge: engine, Index: ownership.NewIndex(), Mask: func([]byte) string { return "h" }, Clock: time.Now,
		Permits:   func(types.UID) []permit.Permit { return nil },
		Permitted: func(types.UID, string, *fastjson.Value) (permit.Permit, bool) { return permit.Permit{}, false },
		Grants:    func(time.Time) []policy.Grant { return nil },
		Suspended: func(types.NamespacedName, time.Time) (suspend.Suspension, bool) { return suspend.Suspension{}, false },
		Live: func(context.Context, schema.GroupVersionResource, string, string) ([]byte, error) {
			return []byte(`{"metadata":{"uid":"u"}}`), nil
		},
		Who: func(*http.Request) (*policy.User, error) { return user, nil },
		May: func(_ context.Context, _ *policy.User, w authorizationv1.ResourceAttributes) (bool, error) {
			return may[strings.TrimSuffix(w.Resource+" "+w.Namespace, " ")], nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestWhoMayRead(t *testing.T) {
	bob := &policy.User{Username: "bob"}
	for name, tt := range map[string]struct {
		path   string
		user   *policy.User
		rights []string
		code   int
		has    string
		hasNot string
	}{
		"nobody":                                 {"/v1/decisions", nil, nil, 401, "credentials", "7f3k2ab"},
		"without the right":                      {"/v1/decisions", bob, nil, 403, "mainstay-view", "7f3k2ab"},
		"of all, with the right in one":          {"/v1/decisions", bob, []string{"decisions shop"}, 403, "name one with -n", "7f3k2ab"},
		"of one namespace, with the right in it": {"/v1/decisions?namespace=shop", bob, []string{"decisions shop"}, 200, "7f3k2ab", `"to":5`},
		"of another":                             {"/v1/decisions?namespace=pay", bob, []string{"decisions shop"}, 403, "namespace pay", ""},
		"with the right to the object as well":   {"/v1/decisions?namespace=shop&basis=true", bob, []string{"decisions shop", "deployments shop"}, 200, `"to":5`, "withheld"},
		"what it rests on without the object":    {"/v1/decisions?basis=true", bob, []string{"decisions"}, 200, "withheld", "replicas\":5"},
		"one decision without the right":         {"/v1/decisions/7f3k2ab", bob, nil, 403, "mainstay-view", "spec.replicas"},
		"one decision":                           {"/v1/decisions/7f3k2ab", bob, []string{"decisions shop", "deployments shop"}, 200, `"differs":false`, ""},
		"one that is not there":                  {"/v1/decisions/none", bob, []string{"decisions"}, 404, "no decision none", ""},
		"an object that they may not get":        {"/v1/object?group=apps&version=v1&kind=Deployment&resource=deployments&namespace=shop&name=web", bob, []string{"decisions"}, 403, "may not get", "7f3k2ab"},
		"an object, without decisions":           {"/v1/object?group=apps&version=v1&kind=Deployment&resource=deployments&namespace=shop&name=web", bob, []string{"deployments shop"}, 200, "decisionsHidden", "7f3k2ab"},
		"an object":                              {"/v1/object?group=apps&version=v1&kind=Deployment&resource=deployments&namespace=shop&name=web", bob, []string{"deployments shop", "decisions"}, 200, "7f3k2ab", "decisionsHidden"},
		"a parameter that is unknown":            {"/v1/decisions?nmaespace=shop", bob, []string{"decisions"}, 400, "nmaespace", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := serve(t, tt.path, tt.user, tt.rights...)
			body := w.Body.String()
			if w.Code != tt.code || !strings.Contains(body, tt.has) || tt.hasNot != "" && strings.Contains(body, tt.hasNot) {
				t.Errorf("%d %s; want %d with %q and without %q", w.Code, body, tt.code, tt.has, tt.hasNot)
			}
		})
	}
}
