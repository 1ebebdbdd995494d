// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/grant"
)

// Grants keeps the sealed records of requests for break-glass. grant.Store does.
type Grants interface {
	Read(ctx context.Context, uid types.UID) (record grant.Record, ok bool, err error)
	Put(ctx context.Context, record grant.Record) error
	IsActive(uid types.UID) bool
	// Holds tells whether it is active or something changed under it is held.
	Holds(uid types.UID) bool
	// Extendable finds the record of a BreakGlass that may be extended.
	Extendable(key types.NamespacedName, now time.Time) (grant.Record, error)
	// GoesOn names an active grant that extends it, Spent says why none may.
	GoesOn(uid types.UID) string
	Spent(uid types.UID) string
}

// Refusals remembers what was refused, so that a request can be as narrow.
// grant.Refusals does. Remember does not wait, and keeps nothing of the change.
type Refusals interface {
	Remember(change *policy.Change, decision policy.Decision)
	Find(decision string) (grant.Refusal, bool)
}

// Uses is told which changes grants permitted. grant.Uses is. Used does not
// wait, and keeps nothing of the change.
type Uses interface {
	Used(change *policy.Change, decision policy.Decision)
}

// BreakGlass says how grants are asked for and approved. Without Grants none
// is given.
type BreakGlass struct {
	Grants   Grants
	Refusals Refusals
	Uses     Uses
	// MayApprove tells whether a user has the verb approve on a BreakGlass.
	// Nobody has where it is nil. An error is not a permit.
	MayApprove func(ctx context.Context, user *policy.User, namespace, name string) (bool, error)
	// MaxDuration of a grant.
	MaxDuration time.Duration
	// MaxHold is how long what was changed is held after the end of a grant that
	// holds.
	MaxHold time.Duration
	// EmergencyGroups may do without a second person.
	EmergencyGroups []string
}

const (
	// awaitRefusal is how long a request waits for a refusal of another replica,
	// which writes them once a second.
	awaitRefusal = 1500 * time.Millisecond
	// approving is the time in which a second approval must not take the place
	// of a first that may be on its way.
	approving = 10 * time.Second
)

// breakGlass judges a write of a BreakGlass, and records what it grants before
// it is answered. It returns why the write is refused; empty where it is not.
func (h *Handler) breakGlass(ctx context.Context, req *request) (reason string) {
	after, err := breakGlassOf(req.object)
	if err != nil {
		return err.Error()
	}
	before, err := breakGlassOf(req.oldObject)
	if err != nil {
		return err.Error()
	}
	switch req.operation {
	case policy.Create:
		return h.requested(ctx, req, after)
	case policy.Update:
		return h.updated(ctx, req, before, after)
	case policy.Delete:
		return h.dropped(ctx, req, before)
	default:
		return "there is no such operation"
	}
}

// breakGlassOf reads a document of the request; nil for none.
func breakGlassOf(doc *fastjson.Value) (*v1alpha1.BreakGlass, error) {
	bg := new(v1alpha1.BreakGlass)
	if doc == nil {
		return bg, nil
	}
	if err := json.Unmarshal(doc.MarshalTo(nil), bg); err != nil {
		return nil, fmt.Errorf("the BreakGlass can't be read: %w", err)
	}
	return bg, nil
}

// requested judges a new request.
func (h *Handler) requested(ctx context.Context, req *request, bg *v1alpha1.BreakGlass) string {
	o, user := &h.options.BreakGlass, req.user()
	if bg.Spec.RequestedBy != user.Username {
		return fmt.Sprintf("spec.requestedBy is %q and must be the name of whoever writes it, %q", bg.Spec.RequestedBy, user.Username)
	}
	if o.Grants == nil {
		return ""
	}
	if bg.Spec.ApprovedBy != "" {
		return "spec.approvedBy is for somebody else to write once the request is made: leave it empty"
	}
	if reason := o.tooLong(bg); reason != "" {
		return reason
	}
	if bg.Spec.Emergency && !slices.ContainsFunc(user.Groups, func(g string) bool { return slices.Contains(o.EmergencyGroups, g) }) {
		if len(o.EmergencyGroups) == 0 {
			return "nobody may do without an approval here (breakGlass.emergencyGroups is empty): leave out spec.emergency and ask somebody to approve"
		}
		return fmt.Sprintf("only members of %s may do without an approval: leave out spec.emergency and ask somebody to approve",
			strings.Join(o.EmergencyGroups, ", "))
	}
	if _, ok := bg.Annotations[v1alpha1.RevertAnnotation]; ok {
		return "there is nothing to give up yet: leave out the annotation " + v1alpha1.RevertAnnotation
	}
	now := h.options.Clock()
	asked, err := grant.Ask(bg, h.options.Namespace, grant.Sources{
		Refusal:    func(id string) (grant.Refusal, bool) { return o.find(ctx, id) },
		Extendable: o.Grants.Extendable,
	}, now)
	if err != nil {
		return err.Error()
	}
	if bg.UID == "" {
		return "the request has no uid"
	}
	if req.dryRun {
		return ""
	}
	record := grant.NewRecord(bg, asked, now)
	event := policy.Decision{Event: eventRequested, Reason: fmt.Sprintf("%s asks for break-glass for %s: %s", user.Username, bg.Spec.Duration.Duration, bg.Spec.Reason)}
	if bg.Spec.Emergency {
		record.Begin("", now, bg.Spec.Duration.Duration, o.hold(bg))
		event = policy.Decision{
			Event: eventEmergency, Severity: audit.SeverityCritical, Until: record.ExpiresAt,
			Reason: fmt.Sprintf("%s takes an emergency grant for %s, which nobody approved: %s", user.Username, bg.Spec.Duration.Duration, bg.Spec.Reason),
		}
	}
	if err := o.Grants.Put(ctx, record); err != nil {
		h.report(ctx, err)
		return "Mainstay could not record the request, try again"
	}
	h.tell(req, event)
	return ""
}

func (o *BreakGlass) tooLong(bg *v1alpha1.BreakGlass) string {
	if d := bg.Spec.Duration.Duration; d <= 0 || d > o.MaxDuration {
		return fmt.Sprintf("spec.duration is %s, and a grant may last %s at most (breakGlass.maxDuration)", d, o.MaxDuration)
	}
	return ""
}

// hold is how long what is changed is held after the end.
func (o *BreakGlass) hold(bg *v1alpha1.BreakGlass) time.Duration {
	if !bg.Spec.Holds() {
		return 0
	}
	return o.MaxHold
}

// find waits a moment for a refusal that another replica has answered with.
func (o *BreakGlass) find(ctx context.Context, id string) (grant.Refusal, bool) {
	if o.Refusals == nil {
		return grant.Refusal{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, awaitRefusal)
	defer cancel()
	for {
		if r, ok := o.Refusals.Find(id); ok {
			return r, true
		}
		select {
		case <-ctx.Done():
			return grant.Refusal{}, false
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// updated lets approvedBy be set and revoked, and what was changed under a grant
// that has ended be given up; nothing else of a request changes.
func (h *Handler) updated(ctx context.Context, req *request, before, after *v1alpha1.BreakGlass) string {
	approved := before.Spec.ApprovedBy != after.Spec.ApprovedBy
	revoked := before.Spec.Revoked != after.Spec.Revoked
	was, is := before.Annotations[v1alpha1.RevertAnnotation], after.Annotations[v1alpha1.RevertAnnotation]
	undone := was == "" && is != ""
	switch {
	case was != "" && is != was:
		return "what was given up stays given up (" + v1alpha1.RevertAnnotation + "): make a new request"
	case before.Spec.Digest() != after.Spec.Digest():
		return "a request can't be edited: delete it and make a new one"
	case approved && revoked:
		return "approve a request or revoke it, not both at once"
	case approved && before.Spec.ApprovedBy != "":
		return fmt.Sprintf("%s has approved it, which can't be changed: revoke it by spec.revoked, or make a new request", before.Spec.ApprovedBy)
	case approved && before.Spec.Revoked:
		return "it was revoked, and what was revoked stays revoked: make a new request"
	case approved && is != "":
		return "it was given up (" + v1alpha1.RevertAnnotation + "): make a new request"
	case approved:
		return h.approved(ctx, req, after)
	case revoked && before.Spec.Revoked:
		return "what was revoked stays revoked: make a new request"
	case undone:
		if reason := h.options.BreakGlass.goesOn(before.UID, revoked); reason != "" {
			return reason
		}
		return h.ended(ctx, req, before, after, revoked, undone)
	case revoked:
		return h.ended(ctx, req, before, after, revoked, undone)
	}
	return ""
}

// goesOn says why what was changed under a grant can't be given up yet; empty
// where it can.
func (o *BreakGlass) goesOn(uid types.UID, revoked bool) string {
	if o.Grants == nil {
		return ""
	}
	if !revoked && o.Grants.IsActive(uid) {
		return "it is still active: revoke it in the same write, by spec.revoked: true"
	}
	if name := o.Grants.GoesOn(uid); name != "" {
		return name + " goes on with it and is active: give up that one, with spec.revoked: true in the same write"
	}
	return ""
}

// ended judges that somebody ends a grant before its time, gives up what was
// changed under it, or both.
func (h *Handler) ended(ctx context.Context, req *request, before, after *v1alpha1.BreakGlass, revoked, undone bool) string {
	if reason := h.mayEnd(ctx, req, before); reason != "" || req.dryRun {
		return reason
	}
	if revoked {
		h.tell(req, policy.Decision{Event: eventRevoked, Reason: req.username() + " revokes the break-glass of " + before.Spec.RequestedBy})
	}
	if undone {
		h.tell(req, policy.Decision{Event: eventReverted, Reason: fmt.Sprintf("%s has git's values put back for what was changed under the break-glass of %s: %s",
			req.username(), before.Spec.RequestedBy, after.Annotations[v1alpha1.RevertAnnotation])})
	}
	return ""
}

// approved judges an approval.
func (h *Handler) approved(ctx context.Context, req *request, bg *v1alpha1.BreakGlass) string {
	o, user := &h.options.BreakGlass, req.user()
	switch {
	case o.Grants == nil:
		return "this Mainstay gives no grants"
	case bg.Spec.ApprovedBy != user.Username:
		return fmt.Sprintf("spec.approvedBy is %q and must be the name of whoever writes it, %q", bg.Spec.ApprovedBy, user.Username)
	case bg.Spec.Emergency:
		return "an emergency grant needs nobody's approval"
	case bg.Spec.RequestedBy == user.Username:
		return fmt.Sprintf("%s has asked for it: somebody else has to approve it", user.Username)
	}
	if reason := o.tooLong(bg); reason != "" {
		return reason
	}
	record, ok, err := o.Grants.Read(ctx, bg.UID)
	if err != nil {
		h.report(ctx, err)
		return "Mainstay could not read what was asked for, try again"
	}
	if !ok || record.Digest != bg.Spec.Digest() || record.Requester != bg.Spec.RequestedBy {
		return "it was made while Mainstay did not judge: make a new request"
	}
	if record.Extends != "" {
		if reason := o.Grants.Spent(record.Extends); reason != "" {
			return reason + ": make a new request"
		}
	}
	for _, s := range record.Subjects {
		if policy.IsSubject(s, user) {
			return fmt.Sprintf("%s may use the grant (%s): somebody else has to approve it", user.Username, s)
		}
	}
	now := h.options.Clock()
	if record.StartsAt != nil && record.Approver != user.Username && now.Sub(*record.StartsAt) < approving {
		return record.Approver + " is approving it just now"
	}
	if reason := h.mayApprove(ctx, user, bg, "approve it"); reason != "" || req.dryRun {
		return reason
	}
	record.Begin(user.Username, now, bg.Spec.Duration.Duration, o.hold(bg))
	if err := o.Grants.Put(ctx, record); err != nil {
		h.report(ctx, err)
		return "Mainstay could not record the approval, try again"
	}
	h.tell(req, policy.Decision{
		Event: eventApproved, Until: record.ExpiresAt,
		Reason: fmt.Sprintf("%s approves the break-glass of %s: %s", user.Username, bg.Spec.RequestedBy, bg.Spec.Reason),
	})
	return ""
}

// dropped judges a deletion, which ends a grant and gives up what was changed
// under it. Whoever deletes a namespace may take it along.
func (h *Handler) dropped(ctx context.Context, req *request, bg *v1alpha1.BreakGlass) string {
	if h.options.BreakGlass.Grants == nil || req.deleting() || h.terminating(req.id.Namespace) ||
		!h.options.BreakGlass.Grants.Holds(bg.UID) {
		return ""
	}
	if reason := h.mayEnd(ctx, req, bg); reason != "" || req.dryRun {
		return reason
	}
	h.tell(req, policy.Decision{Event: eventRevoked, Reason: req.username() + " deletes the break-glass of " + bg.Spec.RequestedBy + ": git's values come back"})
	return ""
}

// mayEnd tells whether a user may end a grant before its time.
func (h *Handler) mayEnd(ctx context.Context, req *request, bg *v1alpha1.BreakGlass) string {
	user := req.user()
	if user.Username == bg.Spec.RequestedBy || user.Username == bg.Spec.ApprovedBy {
		return ""
	}
	return h.mayApprove(ctx, user, bg, "end it")
}

func (h *Handler) mayApprove(ctx context.Context, user *policy.User, bg *v1alpha1.BreakGlass, what string) string {
	may := h.options.BreakGlass.MayApprove
	if may == nil {
		return "nobody may " + what
	}
	ok, err := may(ctx, user, bg.Namespace, bg.Name)
	if err != nil {
		h.report(ctx, fmt.Errorf("ask whether %s may approve: %w", user.Username, err))
		return fmt.Sprintf("Mainstay could not find out whether %s may %s, try again", user.Username, what)
	}
	if !ok {
		return fmt.Sprintf("%s may not %s: that takes the verb approve on breakglasses.mainstay.dev, as in the ClusterRole mainstay-approver",
			user.Username, what)
	}
	return ""
}

// The reasons of Events in the life of a request.
const (
	eventRequested = "GrantRequested"
	eventApproved  = "GrantApproved"
	eventRevoked   = "GrantRevoked"
	eventReverted  = "GrantReverted"
	eventEmergency = "EmergencyGrant"
)

// tell records a step in the life of a request.
func (h *Handler) tell(req *request, d policy.Decision) {
	d.ID, d.Verdict, d.Class = newID(), policy.Permit, policy.RuleGrant
	d.Rule = (&policy.Grant{Namespace: req.id.Namespace, Name: req.id.Name}).Rule()
	d.Elapsed = time.Since(req.started)
	h.options.Recorder.Record(h.ownChange(req), d)
}

// note remembers what break-glass needs of a decision.
func (h *Handler) note(change *policy.Change, decision policy.Decision) {
	o := &h.options.BreakGlass
	if decision.Verdict == policy.Refuse && change.Mode() == v1alpha1.ModeEnforce && o.Refusals != nil {
		o.Refusals.Remember(change, decision)
	}
	if decision.Grant != nil && o.Uses != nil {
		o.Uses.Used(change, decision)
	}
}
