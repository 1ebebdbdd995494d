// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// Verdict is what may happen to a change.
type Verdict string

// The verdicts.
const (
	// Permit lets the change stand.
	Permit Verdict = "permit"
	// Refuse does not; the mode says whether that is enforced or only recorded.
	Refuse Verdict = "refuse"
	// Correct puts git's values back and lets the rest of the change stand: what
	// a GitSync makes of refused writes of service accounts, if it wants to.
	Correct Verdict = "correct"
)

// Rule classes: the closed set of the label "rule" in metrics.
const (
	RuleGit     = "git"     // git says so
	RuleBuiltin = "builtin" // a policy that ships with Mainstay
	RuleLibrary = "library" // a policy of the library
	RulePolicy  = "policy"  // a policy from git or the cluster
	RuleDefault = "default" // no exception covers it
	RuleError   = "error"   // a policy failed or took too long
	RuleOff     = "off"     // the way out mainstay-off is in force
	// RuleSuspended: the object's GitSync is suspended.
	RuleSuspended = "suspended"
	// RuleGrant: an approved BreakGlass covers it.
	RuleGrant = "grant"
)

// Decision is the answer about one Change.
type Decision struct {
	// ID names the decision: five or more of a-z and 0-9.
	ID      string
	Verdict Verdict
	// Class is one of the rule classes above; Rule names the policies that
	// decided, for example hpa.exception; empty for git and default.
	Class, Rule string
	// Reason in one sentence, for people.
	Reason string
	// Library are the policies of the library that are made for what was refused
	// and are not switched on for the object.
	Library []string
	// Next says what to do instead, where a deny rule gives it.
	Next     string
	Severity string
	// Event is the reason of the Event, where the class does not say it.
	Event string
	// Final tells that no grant can lift the refusal.
	Final bool
	// Grant is the BreakGlass without which the change would not be permitted.
	Grant *Grant
	// Until is the earliest end of the exceptions that were needed.
	Until *time.Time
	// Warnings for whoever sent the request.
	Warnings []string
	// Uncovered are the fields that no exception covers.
	Uncovered []Field
	// Permits are the fields that were permitted although git says otherwise
	// and that need a sealed record to stay.
	Permits []Permitted
	// Policies is the digest of the sources that were asked; empty where none
	// was. Equal digests are equal policies.
	Policies string
	// Errors of policies that were met on the way; they never permit.
	Errors []string
	// Unattributed tells of drift that no request explains which Mainstay saw:
	// it was made while nobody judged, or past the API server.
	Unattributed bool
	// Elapsed time of judging.
	Elapsed time.Duration
}

// Liftable tells whether a grant could permit what was refused.
func (d Decision) Liftable() bool {
	return d.Verdict == Refuse && !d.Final && (d.Class == RuleDefault || d.Class == RulePolicy || d.Class == RuleLibrary)
}

// Permitted is one field that an exception permits; for a deletion that a grant
// permits it has no field.
type Permitted struct {
	Field Field
	Rule  string
	Until *time.Time
	// Held is until when it is held as it is after that end, unless git says the
	// same before; nil where git's value comes back at the end.
	Held *time.Time
	// Recorded tells that the permission rests on the request (who, when) and
	// has to be remembered by a record; false where the same rule permits the
	// state itself, whoever made it.
	Recorded bool
}
