// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fastjson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
)

// Suspensions says which GitSyncs are suspended, and remembers who asked.
// suspend.Suspensions does.
type Suspensions interface {
	State(sync types.NamespacedName, now time.Time) (suspend.Suspension, bool)
	Begin(ctx context.Context, asked suspend.Asked) (suspend.Suspension, error)
	End(ctx context.Context, sync types.NamespacedName, uid types.UID) error
	Max() time.Duration
}

// suspended tells whether enforcing a GitSync is suspended.
func (h *Handler) suspended(sync *ownership.Sync) (suspend.Suspension, bool) {
	if h.options.Suspensions == nil {
		return suspend.Suspension{}, false
	}
	return h.options.Suspensions.State(sync.Key(), h.options.Clock())
}

// enforces tells whether anything is refused for a GitSync that holds its
// objects in that mode.
func (h *Handler) enforces(mode v1alpha1.Mode, sync *ownership.Sync) bool {
	if mode != v1alpha1.ModeEnforce || h.off() {
		return false
	}
	_, suspended := h.suspended(sync)
	return !suspended
}

// whileSuspended permits whatever is asked of a suspended GitSync's objects. No
// permit is kept: at its end all of it goes back to what git says.
func whileSuspended(sync *ownership.Sync, s suspend.Suspension) policy.Decision {
	reason := fmt.Sprintf("GitSync %s is %s", sync.Name, s)
	return policy.Decision{
		ID: newID(), Verdict: policy.Permit, Class: policy.RuleSuspended, Reason: reason, Until: &s.Until,
		Warnings: []string{fmt.Sprintf("GitSync %s is suspended until %s by %s; then git's values come back: %s",
			audit.Cut(sync.Name, 30), s.Until.UTC().Format("15:04 UTC"), audit.Cut(s.By, 20), s.Reason)},
	}
}

// gesture begins or ends a suspension.
type gesture struct {
	// value of the annotation; nil where the suspension is to end.
	value *fastjson.Value
}

// gesture tells whether a request begins, changes or ends a suspension, and
// refuses where it may not.
func (h *Handler) gesture(ctx context.Context, req *request) (*gesture, finding) {
	before, after := suspension(req.oldObject), suspension(req.object)
	switch {
	case req.operation == policy.Delete, before == nil && after == nil,
		before != nil && after != nil && string(before.GetStringBytes()) == string(after.GetStringBytes()):
		return nil, finding{}
	case h.options.Suspensions == nil:
		return nil, finding{reason: "this Mainstay knows no suspensions"}
	case after != nil && req.operation == policy.Create:
		return nil, finding{
			reason: "a GitSync can't be created suspended: who suspends it is recorded under its uid, which it does not have yet",
			next:   "create it without the annotation, then kubectl annotate gitsync " + req.id.Name + " -n " + req.id.Namespace + " " + suspend.Example,
		}
	case after != nil && req.username() == h.options.SyncAccount:
		return nil, finding{
			reason: "git can't carry a suspension: " + v1alpha1.SuspendAnnotation + " belongs to whoever is on call",
			next:   "take it out of the manifest; kubectl annotate gitsync " + req.id.Name + " -n " + req.id.Namespace + " " + suspend.Example,
		}
	}
	if after == nil {
		if _, inForce := h.options.Suspensions.State(syncKey(req), h.options.Clock()); !inForce {
			return nil, finding{} // it suspends nothing: whoever may write may tidy up
		}
	}
	if after != nil {
		if _, _, err := suspend.Parse(string(after.GetStringBytes()), h.options.Suspensions.Max()); err != nil {
			return nil, finding{
				reason: v1alpha1.SuspendAnnotation + ` is "<duration> <reason>": ` + err.Error(),
				next:   "kubectl annotate gitsync " + req.id.Name + " -n " + req.id.Namespace + " --overwrite " + suspend.Example,
			}
		}
	}
	return &gesture{after}, h.maySuspend(ctx, req)
}

func suspension(object *fastjson.Value) *fastjson.Value {
	if object == nil {
		return nil
	}
	return object.Get("metadata", "annotations", v1alpha1.SuspendAnnotation)
}

// maySuspend asks for the verb; nobody has it where nobody can be asked.
func (h *Handler) maySuspend(ctx context.Context, req *request) finding {
	user := req.user()
	may, err := false, error(nil)
	if h.options.MaySuspend != nil {
		may, err = h.options.MaySuspend(ctx, user, req.id.Namespace, req.id.Name)
	}
	switch {
	case err != nil:
		h.report(ctx, fmt.Errorf("ask whether %s may suspend %s: %w", user.Username, req.id, err))
		return finding{
			reason: "Mainstay could not ask whether you may suspend it, try again", code: http.StatusServiceUnavailable,
		}
	case !may:
		return finding{
			reason: fmt.Sprintf("to suspend or resume it takes the verb suspend on gitsyncs.mainstay.dev in namespace %s, which %q does not have",
				req.id.Namespace, user.Username),
			next: "ask somebody who is bound to the ClusterRole mainstay-approver",
		}
	}
	return finding{}
}

// perform writes what begins or ends a suspension before the request is
// answered.
func (h *Handler) perform(ctx context.Context, req *request, g *gesture, a answer) answer {
	change := h.ownChange(req)
	change.Record.Sync.Namespace, change.Record.Sync.Name = req.id.Namespace, req.id.Name
	change.Fields = []policy.Field{ownField(suspension(req.oldObject), g.value, "metadata", "annotations", v1alpha1.SuspendAnnotation)}
	decision := policy.Decision{ID: newID(), Verdict: policy.Permit, Class: policy.RuleSuspended, Rule: suspend.Rule}
	uid := types.UID(req.oldObject.GetStringBytes("metadata", "uid"))
	var err error
	if g.value == nil {
		decision.Reason = "resumed by " + req.username()
		err = h.options.Suspensions.End(ctx, syncKey(req), uid)
	} else {
		var begun suspend.Suspension
		begun, err = h.options.Suspensions.Begin(ctx, suspend.Asked{
			Sync: syncKey(req), UID: uid, Value: string(g.value.GetStringBytes()),
			By: req.username(), Decision: decision.ID, At: h.options.Clock(),
		})
		if err == nil {
			decision.Reason, decision.Until = begun.String(), &begun.Until
			a.warnings = append(a.warnings, audit.Cut(fmt.Sprintf(
				"GitSync %s is suspended until %s: what is changed meanwhile goes back then",
				req.id.Name, begun.Until.UTC().Format(time.RFC3339)), audit.MaxWarning))
		}
	}
	if err != nil {
		h.report(ctx, err)
		return h.guard(ctx, req, finding{
			reason: "Mainstay could not record this, try again", code: http.StatusServiceUnavailable,
		})
	}
	decision.Elapsed = time.Since(req.started)
	h.options.Recorder.Record(change, decision)
	a.decision = decision.ID
	return a
}
