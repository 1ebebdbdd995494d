// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/grant"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// fakeGrants holds one record.
type fakeGrants struct {
	record *grant.Record
	put    []grant.Record
	active bool
	holds  bool
	// goesOn and spent are what is said of what extends it, and of what it extends.
	goesOn, spent string
	readErr       error
	putErr        error
}

func (f *fakeGrants) Read(context.Context, types.UID) (grant.Record, bool, error) {
	if f.record == nil || f.readErr != nil {
		return grant.Record{}, false, f.readErr
	}
	return *f.record, true, nil
}

func (f *fakeGrants) Put(_ context.Context, r grant.Record) error {
	if f.putErr == nil {
		f.put = append(f.put, r)
	}
	return f.putErr
}

func (f *fakeGrants) IsActive(types.UID) bool { return f.active }
func (f *fakeGrants) GoesOn(types.UID) string { return f.goesOn }
func (f *fakeGrants) Spent(types.UID) string  { return f.spent }
func (f *fakeGrants) Holds(types.UID) bool    { return f.active || f.holds }

func (f *fakeGrants) Extendable(key types.NamespacedName, _ time.Time) (grant.Record, error) {
	if key != (types.NamespacedName{Namespace: ownSpace, Name: "before"}) {
		return grant.Record{}, errors.New("there is none")
	}
	return grant.Record{
		UID: "u-before", Scope: v1alpha1.BreakGlassScope{Names: []string{"web"}}, Subjects: []v1alpha1.BreakGlassSubject{{Kind: "User", Name: "alice"}},
	}, nil
}

// fakeRefusals knows one decision, and counts.
type fakeRefusals struct{ remembered, used int }

func (f *fakeRefusals) Remember(*policy.Change, policy.Decision) { f.remembered++ }
func (f *fakeRefusals) Used(*policy.Change, policy.Decision)     { f.used++ }
func (f *fakeRefusals) Find(id string) (grant.Refusal, bool) {
	return grant.Refusal{ID: id, At: clock, Object: web, Operation: "UPDATE", Paths: []string{"spec.replicas"}}, id == "7f3k2"
}

func bgSpec(edits ...any) map[string]any {
	spec := map[string]any{
		"requestedBy": "alice", "reason": "INC-7", "duration": "1h", "scope": map[string]any{"namespaces": []any{"shop"}},
	}
	for i := 0; i+1 < len(edits); i += 2 {
		if edits[i+1] == nil {
			delete(spec, edits[i].(string))
			continue
		}
		spec[edits[i].(string)] = edits[i+1]
	}
	return spec
}

func bgObject(spec map[string]any) map[string]any {
	return map[string]any{
		"apiVersion": "mainstay.dev/v1alpha1", "kind": "BreakGlass", "spec": spec,
		"metadata": map[string]any{"name": "hotfix", "namespace": ownSpace, "uid": "u-bg"},
	}
}

// undo gives up what was changed; undone says that it was given up before.
func undo(a asked) asked   { return annotate(a, a.new) }
func undone(a asked) asked { return annotate(a, a.old) }

func annotated(a asked, value string) asked {
	a.new["metadata"].(map[string]any)["annotations"] = map[string]any{v1alpha1.RevertAnnotation: value}
	return a
}

func annotate(a asked, object any) asked {
	object.(map[string]any)["metadata"].(map[string]any)["annotations"] = map[string]any{v1alpha1.RevertAnnotation: "it was wrong"}
	return a
}

func bgDigest(t *testing.T, edits ...any) string {
	t.Helper()
	raw, err := json.Marshal(bgSpec(edits...))
	if err != nil {
		t.Fatal(err)
	}
	var spec v1alpha1.BreakGlassSpec
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	return spec.Digest()
}

func bgAsked(operation, user string, old, updated map[string]any) asked {
	a := asked{
		entry: EntryOwn, operation: operation, user: user, namespace: ownSpace,
		kind:     metav1.GroupVersionKind{Group: "mainstay.dev", Version: "v1alpha1", Kind: "BreakGlass"},
		resource: metav1.GroupVersionResource{Group: "mainstay.dev", Version: "v1alpha1", Resource: "breakglasses"},
	}
	if old != nil {
		a.old = bgObject(old)
	}
	if updated != nil {
		a.new = bgObject(updated)
	}
	return a
}

func bgRecord(t *testing.T, edits ...func(*grant.Record)) *grant.Record {
	t.Helper()
	bg := &v1alpha1.BreakGlass{
		ObjectMeta: metav1.ObjectMeta{Namespace: ownSpace, Name: "hotfix", UID: "u-bg"},
		Spec: v1alpha1.BreakGlassSpec{
			RequestedBy: "alice", Reason: "INC-7", Duration: metav1.Duration{Duration: time.Hour},
			Scope: &v1alpha1.BreakGlassScope{Namespaces: []string{"shop"}},
		},
	}
	wanted, err := grant.Ask(bg, ownSpace, grant.Sources{}, clock)
	if err != nil {
		t.Fatal(err)
	}
	r := grant.NewRecord(bg, wanted, clock)
	for _, edit := range edits {
		edit(&r)
	}
	return &r
}

func TestRequestsForBreakGlass(t *testing.T) {
	approve := bgSpec("approvedBy", "bob")
	dry := func(a asked) asked { a.dryRun = true; return a }
	for name, tt := range map[string]struct {
		asked   asked
		grants  fakeGrants
		options func(*BreakGlass)
		say     string // empty: permitted
		put     func(grant.Record) bool
		event   string
	}{
		"a request": {
			asked: bgAsked("CREATE", "alice", nil, bgSpec()), event: eventRequested,
			put: func(r grant.Record) bool {
				return r.StartsAt == nil && r.UID == "u-bg" && r.Subjects[0].Name == "alice"
			},
		},
		"a request for what was refused": {
			asked: bgAsked("CREATE", "alice", nil, bgSpec("scope", nil, "decision", "7f3k2")), event: eventRequested,
			put: func(r grant.Record) bool {
				return r.Scope.Names[0] == "web" && r.Scope.Paths[0] == "spec.replicas" && r.Scope.Kinds[0] == "Deployment.apps"
			},
		},
		"a dry run of it":             {asked: dry(bgAsked("CREATE", "alice", nil, bgSpec()))},
		"in another's name":           {asked: bgAsked("CREATE", "mallory", nil, bgSpec()), say: `must be the name of whoever writes it, "mallory"`},
		"approved from the beginning": {asked: bgAsked("CREATE", "alice", nil, approve), say: "leave it empty"},
		"for too long":                {asked: bgAsked("CREATE", "alice", nil, bgSpec("duration", "5h")), say: "a grant may last 4h0m0s at most"},
		"what can't be read":          {asked: bgAsked("CREATE", "alice", nil, bgSpec("duration", 5)), say: "can't be read"},
		"an emergency by a member": {
			asked: bgAsked("CREATE", "alice", nil, bgSpec("emergency", true)), event: eventEmergency,
			put: func(r grant.Record) bool {
				return r.Emergency && r.Approver == "" && r.StartsAt.Equal(clock) && r.ExpiresAt.Equal(clock.Add(time.Hour))
			},
		},
		"an emergency by who is none": {
			asked:   bgAsked("CREATE", "alice", nil, bgSpec("emergency", true)),
			options: func(o *BreakGlass) { o.EmergencyGroups = []string{"on-call"} }, say: "only members of on-call may do without an approval",
		},
		"an emergency where there are no groups": {
			asked:   bgAsked("CREATE", "alice", nil, bgSpec("emergency", true)),
			options: func(o *BreakGlass) { o.EmergencyGroups = nil }, say: "breakGlass.emergencyGroups is empty",
		},
		"a request that can't be recorded": {
			asked: bgAsked("CREATE", "alice", nil, bgSpec()), grants: fakeGrants{putErr: errors.New("no")}, say: "could not record the request",
		},
		"an approval": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), grants: fakeGrants{record: bgRecord(t)}, event: eventApproved,
			put: func(r grant.Record) bool {
				return r.Approver == "bob" && r.StartsAt.Equal(clock) && r.ExpiresAt.Equal(clock.Add(time.Hour)) && r.HeldUntil.Equal(clock.Add(73*time.Hour))
			},
		},
		"an approval of what reverts at its end": {
			asked:  bgAsked("UPDATE", "bob", bgSpec("atEnd", "Revert"), bgSpec("atEnd", "Revert", "approvedBy", "bob")),
			grants: fakeGrants{record: bgRecord(t, func(r *grant.Record) { r.Digest = bgDigest(t, "atEnd", "Revert") })}, event: eventApproved,
			put: func(r grant.Record) bool { return r.HeldUntil == nil },
		},
		"an extension": {
			asked: bgAsked("CREATE", "alice", nil, bgSpec("scope", nil, "extends", "before")), event: eventRequested,
			put: func(r grant.Record) bool {
				return r.Extends == "u-before" && r.Scope.Names[0] == "web" && r.Subjects[0].Name == "alice" && r.StartsAt == nil
			},
		},
		"an extension of what may not be extended": {
			asked: bgAsked("CREATE", "alice", nil, bgSpec("scope", nil, "extends", "another")), say: "spec.extends: there is none",
		},
		"an extension by another": {
			asked: bgAsked("UPDATE", "alice", bgSpec("scope", nil, "extends", "before"), bgSpec("scope", nil, "extends", "another")), say: "a request can't be edited",
		},
		"another end for what is changed": {asked: bgAsked("UPDATE", "alice", approve, bgSpec("approvedBy", "bob", "atEnd", "Revert")), say: "a request can't be edited"},
		"the default end, written out":    {asked: bgAsked("UPDATE", "alice", bgSpec(), bgSpec("atEnd", "Hold"))},
		"giving up what is held": {
			asked: undo(bgAsked("UPDATE", "alice", approve, approve)), grants: fakeGrants{holds: true}, event: eventReverted,
		},
		"giving up by anybody": {
			asked: undo(bgAsked("UPDATE", "mallory", approve, approve)), grants: fakeGrants{holds: true}, say: "mallory may not end it",
		},
		"giving up what is active": {
			asked: undo(bgAsked("UPDATE", "alice", approve, approve)), grants: fakeGrants{active: true}, say: "it is still active: revoke it in the same write",
		},
		"revoking and giving up": {
			asked: undo(bgAsked("UPDATE", "alice", approve, bgSpec("approvedBy", "bob", "revoked", true))), grants: fakeGrants{active: true}, event: eventReverted,
		},
		"giving up what another grant goes on with": {
			asked: undo(bgAsked("UPDATE", "alice", approve, approve)), grants: fakeGrants{holds: true, goesOn: "hotfix-x2"}, say: "hotfix-x2 goes on with it and is active",
		},
		"the same while it is revoked": {
			asked:  undo(bgAsked("UPDATE", "alice", approve, bgSpec("approvedBy", "bob", "revoked", true))),
			grants: fakeGrants{active: true, goesOn: "hotfix-x2"}, say: "hotfix-x2 goes on with it and is active",
		},
		"taking back that it was given up": {
			asked: undone(bgAsked("UPDATE", "alice", approve, approve)), grants: fakeGrants{holds: true}, say: "what was given up stays given up",
		},
		"taking it back by an empty reason": {
			asked:  undone(annotated(bgAsked("UPDATE", "bob", approve, approve), "")),
			grants: fakeGrants{holds: true}, say: "what was given up stays given up",
		},
		"another reason for it, by anybody": {
			asked:  undone(annotated(bgAsked("UPDATE", "mallory", approve, approve), "no reason")),
			grants: fakeGrants{holds: true}, say: "what was given up stays given up",
		},
		"an edit beside it": {asked: undone(undo(bgAsked("UPDATE", "alice", approve, approve))), grants: fakeGrants{holds: true}},
		"an approval of an extension of what was given up": {
			asked:  bgAsked("UPDATE", "bob", bgSpec(), approve),
			grants: fakeGrants{record: bgRecord(t, func(r *grant.Record) { r.Extends = "u-before" }), spent: "what was changed under before was given up"},
			say:    "what was changed under before was given up: make a new request",
		},
		"giving up before it was approved": {asked: undo(bgAsked("CREATE", "alice", nil, bgSpec())), say: "there is nothing to give up yet"},
		"an approval of what was given up": {
			asked:  undone(undo(bgAsked("UPDATE", "bob", bgSpec(), approve))),
			grants: fakeGrants{record: bgRecord(t)}, say: "it was given up",
		},
		"a deletion of what is held":            {asked: bgAsked("DELETE", "alice", approve, nil), grants: fakeGrants{holds: true}, event: eventRevoked},
		"a deletion of what is held by anybody": {asked: bgAsked("DELETE", "mallory", approve, nil), grants: fakeGrants{holds: true}, say: "mallory may not end it"},
		"a dry run of an approval":              {asked: dry(bgAsked("UPDATE", "bob", bgSpec(), approve)), grants: fakeGrants{record: bgRecord(t)}},
		"an approval in another's name": {
			asked: bgAsked("UPDATE", "alice", bgSpec(), approve), grants: fakeGrants{record: bgRecord(t)}, say: `must be the name of whoever writes it, "alice"`,
		},
		"an approval of one's own": {
			asked: bgAsked("UPDATE", "alice", bgSpec(), bgSpec("approvedBy", "alice")), grants: fakeGrants{record: bgRecord(t)}, say: "somebody else has to approve it",
		},
		"an approval by one who may use it": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve),
			grants: fakeGrants{record: bgRecord(t, func(r *grant.Record) {
				r.Subjects = []v1alpha1.BreakGlassSubject{{Kind: "Group", Name: "developers"}}
			})},
			say: "bob may use the grant (Group developers)",
		},
		"an approval without the verb": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), grants: fakeGrants{record: bgRecord(t)},
			options: func(o *BreakGlass) {
				o.MayApprove = func(context.Context, *policy.User, string, string) (bool, error) { return false, nil }
			},
			say: "that takes the verb approve",
		},
		"an approval that can't be reviewed": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), grants: fakeGrants{record: bgRecord(t)},
			options: func(o *BreakGlass) {
				o.MayApprove = func(context.Context, *policy.User, string, string) (bool, error) { return true, errors.New("no") }
			},
			say: "could not find out whether bob may approve it",
		},
		"an approval that nobody can review": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), grants: fakeGrants{record: bgRecord(t)},
			options: func(o *BreakGlass) { o.MayApprove = nil }, say: "nobody may approve it",
		},
		"an approval of what nobody has judged": {asked: bgAsked("UPDATE", "bob", bgSpec(), approve), say: "while Mainstay did not judge"},
		"an approval of another spec than was judged": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), say: "while Mainstay did not judge",
			grants: fakeGrants{record: bgRecord(t, func(r *grant.Record) { r.Digest = "other" })},
		},
		"an approval of another's request than was judged": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), say: "while Mainstay did not judge",
			grants: fakeGrants{record: bgRecord(t, func(r *grant.Record) { r.Requester = "bob" })},
		},
		"an approval whose record can't be read": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), grants: fakeGrants{readErr: errors.New("no")}, say: "could not read what was asked for",
		},
		"an approval that can't be recorded": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), grants: fakeGrants{record: bgRecord(t), putErr: errors.New("no")}, say: "could not record the approval",
		},
		"an approval beside another's": {
			asked: bgAsked("UPDATE", "bob", bgSpec(), approve), say: "cy is approving it just now",
			grants: fakeGrants{record: bgRecord(t, func(r *grant.Record) { r.Begin("cy", clock.Add(-time.Second), time.Hour, 0) })},
		},
		"an approval of an emergency": {
			asked: bgAsked("UPDATE", "bob", bgSpec("emergency", true), bgSpec("emergency", true, "approvedBy", "bob")), say: "needs nobody's approval",
		},
		"an approval of what was revoked": {
			asked: bgAsked("UPDATE", "bob", bgSpec("revoked", true), bgSpec("revoked", true, "approvedBy", "bob")), say: "stays revoked",
		},
		"an approval that is taken back": {asked: bgAsked("UPDATE", "bob", approve, bgSpec()), say: "bob has approved it, which can't be changed"},
		"an approval that is changed":    {asked: bgAsked("UPDATE", "cy", approve, bgSpec("approvedBy", "cy")), say: "bob has approved it, which can't be changed"},
		"an edit":                        {asked: bgAsked("UPDATE", "alice", bgSpec(), bgSpec("duration", "2h")), say: "a request can't be edited"},
		"an edit with the approval":      {asked: bgAsked("UPDATE", "bob", bgSpec(), bgSpec("approvedBy", "bob", "duration", "2h")), say: "a request can't be edited"},
		"both at once":                   {asked: bgAsked("UPDATE", "bob", bgSpec(), bgSpec("approvedBy", "bob", "revoked", true)), say: "not both at once"},
		"nothing of the spec":            {asked: bgAsked("UPDATE", "mallory", bgSpec(), bgSpec())},
		"the same in other words":        {asked: bgAsked("UPDATE", "mallory", bgSpec(), bgSpec("duration", "60m", "subjects", []any{}))},
		"a revocation by the requester":  {asked: bgAsked("UPDATE", "alice", approve, bgSpec("approvedBy", "bob", "revoked", true)), event: eventRevoked},
		"a revocation by the approver":   {asked: bgAsked("UPDATE", "bob", approve, bgSpec("approvedBy", "bob", "revoked", true)), event: eventRevoked},
		"a revocation by another who may approve": {
			asked: bgAsked("UPDATE", "cy", approve, bgSpec("approvedBy", "bob", "revoked", true)), event: eventRevoked,
		},
		"a revocation by anybody": {
			asked: bgAsked("UPDATE", "mallory", approve, bgSpec("approvedBy", "bob", "revoked", true)), say: "mallory may not end it",
		},
		"a revocation that is taken back":      {asked: bgAsked("UPDATE", "alice", bgSpec("revoked", true), bgSpec()), say: "stays revoked"},
		"a deletion of what is not active":     {asked: bgAsked("DELETE", "mallory", bgSpec(), nil)},
		"a deletion of what is active":         {asked: bgAsked("DELETE", "alice", approve, nil), grants: fakeGrants{active: true}, event: eventRevoked},
		"a deletion by anybody":                {asked: bgAsked("DELETE", "mallory", approve, nil), grants: fakeGrants{active: true}, say: "mallory may not end it"},
		"a deletion along with its namespace":  {asked: func() asked { a := bgAsked("DELETE", "gc", approve, nil); a.namespace = "leaving"; return a }(), grants: fakeGrants{active: true}},
		"a decision that nobody knows (waits)": {asked: bgAsked("CREATE", "alice", nil, bgSpec("scope", nil, "decision", "zzzzz")), say: "decision zzzzz is not known (any more)"},
	} {
		t.Run(name, func(t *testing.T) {
			options := BreakGlass{
				Grants: &tt.grants, Refusals: &fakeRefusals{}, MaxDuration: 4 * time.Hour, MaxHold: 72 * time.Hour, EmergencyGroups: []string{"developers"},
				MayApprove: func(_ context.Context, user *policy.User, namespace, name string) (bool, error) {
					return (user.Username == "bob" || user.Username == "cy") && namespace == ownSpace && name == "hotfix", nil
				},
			}
			if tt.options != nil {
				tt.options(&options)
			}
			f := newFixture(t, index(t, v1alpha1.ModeEnforce), func(o *Options) {
				o.BreakGlass = options
				o.NamespaceTerminating = func(name string) bool { return name == "leaving" }
			})
			got := f.send(t, tt.asked)
			if got.Allowed != (tt.say == "") {
				t.Fatalf("allowed: %t, %+v", got.Allowed, got.Result)
			}
			if tt.say != "" && !strings.Contains(got.Result.Message, tt.say) {
				t.Errorf("it says %q, want %q", got.Result.Message, tt.say)
			}
			switch {
			case tt.put == nil && len(tt.grants.put) > 0:
				t.Errorf("it has written %+v", tt.grants.put)
			case tt.put != nil && (len(tt.grants.put) != 1 || !tt.put(tt.grants.put[0])):
				t.Errorf("it has written %+v", tt.grants.put)
			}
			var event string
			for _, d := range f.recorder.decisions {
				if d.Event != "" {
					event = d.Event
					if (d.Severity == "critical") != (event == eventEmergency) {
						t.Errorf("%s has the severity %q", event, d.Severity)
					}
				}
			}
			if event != tt.event {
				t.Errorf("the event is %q, want %q", event, tt.event)
			}
		})
	}
}

func TestDecisionsThatBreakGlassNeedsAreRemembered(t *testing.T) {
	granted := policy.Decision{ID: "7f3k2", Verdict: policy.Permit, Class: policy.RuleGrant, Grant: &policy.Grant{}}
	for name, tt := range map[string]struct {
		mode             v1alpha1.Mode
		decision         policy.Decision
		remembered, used int
	}{
		"a refusal":                    {v1alpha1.ModeEnforce, policy.Decision{Verdict: policy.Refuse, Class: policy.RuleDefault}, 1, 0},
		"what would have been refused": {v1alpha1.ModeWarn, policy.Decision{Verdict: policy.Refuse, Class: policy.RuleDefault}, 0, 0},
		"a use":                        {v1alpha1.ModeEnforce, granted, 0, 1},
		"a permit by a policy":         {v1alpha1.ModeEnforce, policy.Decision{Verdict: policy.Permit, Class: policy.RulePolicy}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			notes := &fakeRefusals{}
			f := newFixture(t, index(t, tt.mode, func(*ownership.Entry) {}), func(o *Options) {
				o.BreakGlass = BreakGlass{Refusals: notes, Uses: notes}
			})
			f.judge.decide = func(*policy.Change) policy.Decision { return tt.decision }
			f.send(t, deployment("UPDATE", live(t), live(t, image("nginx:1.28"))))
			if notes.remembered != tt.remembered || notes.used != tt.used {
				t.Errorf("remembered %d, used %d, want %d, %d", notes.remembered, notes.used, tt.remembered, tt.used)
			}
		})
	}
}
