// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fastjson"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// The lengths of the wording.
const (
	// MaxWarning is the length of a warning in characters; the API server cuts
	// at 256 bytes.
	MaxWarning = 120
	// MaxEvent is the length of an Event's note in bytes.
	MaxEvent = 1024
	// maxRefusal is the length of a refusal in lines.
	maxRefusal = 6
	maxFields  = 3
	maxValue   = 60
	minPath    = 12
)

// The types of the causes in a refusal's details.
const (
	CauseDeclared   metav1.CauseType = "mainstay.dev/declared"
	CauseUndeclared metav1.CauseType = "mainstay.dev/undeclared"
)

// Words are one decision about one change, in several lengths.
type Words struct {
	Change   *policy.Change
	Decision policy.Decision
	// Mask makes the keyed hash that stands for a value that may not be shown;
	// without it such a value is not shown at all.
	Mask func(value []byte) string
	// ShowValues tells that the reader may see the object's values. The values
	// of Secrets are never shown.
	ShowValues bool
}

// Refusal is what the person who asked reads: at most six lines, of which the
// first says everything.
func (w Words) Refusal() string {
	tail := w.tail()
	lines := append([]string{w.first()}, w.fields(min(maxFields, maxRefusal-1-len(tail)))...)
	return strings.Join(append(lines, tail...), "\n")
}

// Warning is what kubectl prints in the mode Warn, and of a correction: at most
// MaxWarning characters on one line.
func (w Words) Warning() string {
	text := w.object()
	switch w.Decision.Verdict {
	case policy.Refuse:
		text += " would be refused: " + w.what()
	case policy.Correct:
		text += ": "
		text += w.corrected(MaxWarning - utf8.RuneCountInString(text) - utf8.RuneCountInString(w.Decision.ID) - len(" ()"))
	case policy.Permit:
		text += ": " + w.Decision.Reason
	}
	if w.Decision.ID != "" {
		id := " (" + w.Decision.ID + ")"
		return cutRunes(oneLine(text), MaxWarning-utf8.RuneCountInString(id)) + id
	}
	return cutRunes(oneLine(text), MaxWarning)
}

// Event is the note of an Event: at most MaxEvent bytes on one line.
func (w Words) Event() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s of %s", w.account(), strings.ToLower(string(w.Change.Operation)), w.object())
	for i, f := range w.shown() {
		if i == maxFields {
			fmt.Fprintf(&b, "; … and %d more", len(w.shown())-i)
			break
		}
		fmt.Fprintf(&b, "; %s git: %s %s %s", f.Path, w.value(f.Git), w.verb(), w.asked(f))
	}
	if w.Decision.Reason != "" {
		b.WriteString("; " + w.Decision.Reason)
	}
	if known := w.known(); known != "" {
		b.WriteString("; " + known)
	}
	if w.Decision.Unattributed {
		b.WriteString("; unattributed: no request explains it")
	}
	if content := w.Change.Record.Current(); content != nil && !w.Change.Use() {
		at, line := w.place(content)
		b.WriteString("; change it: " + Link(w.Change.Record.Sync, at, line))
	}
	if w.Decision.ID != "" {
		b.WriteString("; decision " + w.Decision.ID)
	}
	return cutBytes(oneLine(b.String()), MaxEvent)
}

// Causes are the changed paths for programs.
func (w Words) Causes() []metav1.StatusCause {
	fields := w.shown()
	causes := make([]metav1.StatusCause, 0, len(fields))
	for _, f := range fields {
		cause := metav1.StatusCause{
			Type: CauseUndeclared, Field: f.Path.String(),
			Message: fmt.Sprintf("git: %s, %s %s", w.value(f.Git), w.verb(), w.asked(f)),
		}
		if f.Declared {
			cause.Type = CauseDeclared
		}
		causes = append(causes, cause)
	}
	return causes
}

// object is for example deployments.apps "web" (namespace shop), or
// pods/exec "web-0" of deployments.apps "web" (namespace shop).
func (w Words) object() string {
	r := w.Change.Record
	text := fmt.Sprintf("%s %q", r.GVR().GroupResource(), r.Name)
	if w.Change.Pod != "" {
		pod := fmt.Sprintf("pods/%s %q", w.Change.SubResource, w.Change.Pod)
		if r.Group == "" && r.Kind == "Pod" {
			text = pod
		} else {
			text = pod + " of " + text
		}
	}
	if r.Namespace != "" {
		text += " (namespace " + r.Namespace + ")"
	}
	return text
}

// account is who made the change, as far as that is known: of drift only the
// field manager is, which anyone can choose.
func (w Words) account() string {
	if w.Change.User != nil {
		return w.Change.User.Username
	}
	for _, f := range w.shown() {
		if f.Manager != "" {
			return "field manager " + f.Manager
		}
	}
	return "somebody"
}

// what says in half a sentence why git does not allow it.
func (w Words) what() string {
	switch fields := w.shown(); {
	case w.explained():
		return w.Decision.Reason
	case w.Change.Operation == policy.Delete:
		return "git declares it"
	case len(fields) == 0:
		return "git says otherwise"
	case len(fields) == 1:
		return fields[0].Path.String() + " is not as git says"
	default:
		return fmt.Sprintf("%s and %d more are not as git says", fields[0].Path, len(fields)-1)
	}
}

// corrected says which fields have git's values again, in at most limit
// characters as far as the first path can be cut for that.
func (w Words) corrected(limit int) string {
	fields := w.shown()
	rest := " was put back to git's value"
	switch n := len(fields); {
	case n == 0:
		return "git's values were put back"
	case n > 1:
		rest = fmt.Sprintf(" and %d more were put back to git's values", n-1)
	}
	return cutRunes(oneLine(fields[0].Path.String()), max(limit-utf8.RuneCountInString(rest), minPath)) + rest
}

// explained tells that a rule or an error gave the reason, not the default.
func (w Words) explained() bool {
	return w.Decision.Reason != "" && w.Decision.Class != policy.RuleDefault
}

func (w Words) first() string {
	if w.Change.Use() {
		return oneLine(w.object() + " is refused: " + w.Decision.Reason)
	}
	text := w.object() + " is held by git"
	switch {
	case w.explained():
		text += ": " + w.Decision.Reason
	case w.Change.Operation == policy.Delete:
		text += ": to delete it, remove it there"
	case w.Change.Operation == policy.Create:
		text += ": it can only be created as git says"
	}
	return oneLine(text)
}

func (w Words) tail() []string {
	var lines []string
	if w.Decision.Next != "" {
		lines = append(lines, "  instead:    "+oneLine(w.Decision.Next))
	}
	if known := w.known(); known != "" {
		lines = append(lines, "  known:      "+known)
	}
	record := w.Change.Record
	if content := record.Current(); content != nil && content.File != "" && !w.Change.Use() {
		at, line := w.place(content)
		lines = append(lines, oneLine("  change it:  "+Link(record.Sync, at, line)+"   "+blame(content.Revision, w.Change.Time)))
	}
	switch {
	case w.Decision.ID == "":
	case w.Decision.Liftable() && !w.Change.DryRun:
		lines = append(lines, fmt.Sprintf("  emergency:  kubectl mainstay breakglass request %s --for 1h --reason \"…\"", w.Decision.ID))
	default:
		lines = append(lines, "  decision:   "+w.Decision.ID)
	}
	if record.Sync.Contact != "" {
		lines = append(lines, "  ask:        "+oneLine(record.Sync.Contact))
	}
	return lines
}

// known names the policies of the library that are made for what was refused.
func (w Words) known() string {
	names := w.Decision.Library
	switch len(names) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("library policy %q is made for this: spec.policies.library: [%s]", names[0], names[0])
	default:
		return fmt.Sprintf("library policies are made for this: spec.policies.library: one of [%s]", strings.Join(names, ", "))
	}
}

// place is where the first field is set that the decision turned on: the file
// and the line in it.
func (w Words) place(content *ownership.Content) (*ownership.Content, int) {
	fields := w.shown()
	if len(fields) == 0 {
		return content, content.Line
	}
	file, line := content.Place(fields[0].Path)
	if file == content.File {
		return content, line
	}
	other := *content
	other.File = file
	return &other, line
}

// shown are the fields that the decision turned on.
func (w Words) shown() []policy.Field {
	if len(w.Decision.Uncovered) > 0 {
		return w.Decision.Uncovered
	}
	return w.Change.Fields
}

// fields are at most limit lines with aligned columns.
func (w Words) fields(limit int) []string {
	all := w.shown()
	if len(all) == 0 || limit <= 0 {
		return nil
	}
	rows := all[:min(limit, len(all))]
	paths, git := make([]string, len(rows)), make([]string, len(rows))
	pathWidth, gitWidth := 0, 0
	for i, f := range rows {
		paths[i], git[i] = oneLine(f.Path.String()), w.value(f.Git)
		pathWidth = max(pathWidth, utf8.RuneCountInString(paths[i]))
		gitWidth = max(gitWidth, utf8.RuneCountInString(git[i]))
	}
	lines := make([]string, len(rows))
	for i, f := range rows {
		lines[i] = fmt.Sprintf("  %s   git: %s   %s %s", pad(paths[i], pathWidth), pad(git[i], gitWidth), w.verb(), w.asked(f))
	}
	if more := len(all) - len(rows); more > 0 {
		lines[len(lines)-1] += fmt.Sprintf("   … and %d more", more)
	}
	return lines
}

func (w Words) verb() string {
	switch w.Change.Origin {
	case policy.OriginDrift:
		return "found:"
	case policy.OriginSync:
		return "commit:"
	case policy.OriginRequest:
	}
	return "asked:"
}

func (w Words) asked(f policy.Field) string {
	if f.To == nil {
		return "(removed)"
	}
	return w.value(f.To)
}

// value prints a JSON value on one line: a string without quotes where nothing
// in it needs them.
func (w Words) value(v *fastjson.Value) string {
	if v == nil {
		return "(none)"
	}
	if !w.ShowValues || secret(w.Change) {
		return masked(w.Mask, v)
	}
	return plain(v)
}

func plain(v *fastjson.Value) string {
	if v.Type() != fastjson.TypeString {
		return cutRunes(oneLine(string(v.MarshalTo(nil))), maxValue)
	}
	text := string(v.GetStringBytes())
	if text == "" || strings.TrimSpace(text) != text || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		text = strconv.Quote(text)
	}
	return cutRunes(text, maxValue)
}

func masked(mask func([]byte) string, v *fastjson.Value) string {
	if mask == nil {
		return "(hidden)"
	}
	return "(hash " + mask(fieldset.Canonical(nil, v)) + ")"
}

// secret tells whether an object's values may never be shown.
func secret(change *policy.Change) bool {
	return change.Record.Group == "" && change.Record.Kind == "Secret"
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// oneLine keeps what a person sent from adding lines of its own.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}

// Cut makes a text from elsewhere one line of at most limit characters.
func Cut(text string, limit int) string { return cutRunes(oneLine(text), limit) }

func cutRunes(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	runes := []rune(text)
	return string(runes[:limit-1]) + "…"
}

func cutBytes(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// ago is a span of time in one word and a half.
func ago(now, then time.Time) string {
	d := now.Sub(then)
	for _, unit := range []struct {
		name string
		span time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		switch n := int(d / unit.span); {
		case n == 1:
			return "1 " + unit.name + " ago"
		case n > 1:
			return fmt.Sprintf("%d %ss ago", n, unit.name)
		}
	}
	return "just now"
}
