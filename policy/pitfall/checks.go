// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package pitfall

// Info tells of a rule.
type Info struct {
	Name  string
	Level Level
	// Title says in a sentence what is found.
	Title string
}

// check is a rule: what it looks at one by one, or at the whole.
type check struct {
	Info
	// entry limits find to exception, deny or both; empty: every rule.
	entry string
	find  func(f *finder, v *view)
	whole func(f *finder)
}

// Rules are all that Find looks for.
func Rules() []Info {
	var out []Info
	for _, c := range checks() {
		out = append(out, c.Info)
	}
	return out
}

func checks() []check {
	return []check{
		// How much an exception permits, and for how long.
		{Info: Info{"wide-without-end", Warning, "an exception permits (nearly) everything and has no end"}, entry: exception, find: wideWithoutEnd},
		{Info: Info{"expired", Warning, "the end is in the past, so the rule does nothing"}, entry: anyEntry, find: expired},
		{Info: Info{"missing-paths", Warning, "an exception without paths covers nothing but deletions, and its conditions do not speak of one"}, entry: exception, find: missingPaths},
		{Info: Info{"paths-on-delete", Warning, "a deletion changes no path, so an exception with paths never covers it"}, entry: exception, find: pathsOnDelete},
		{Info: Info{"unscoped", Warning, "an exception without a condition on the object: it speaks of all of them"}, entry: exception, find: unscoped},
		{Info: Info{"some-not-every", Warning, "the condition looks at one change, the paths let others pass beside it"}, entry: exception, find: someNotEvery},
		{Info: Info{"restarts-pods", Warning, "its end changes a pod template back, which restarts the pods"}, entry: exception, find: restartsPods},

		// Who.
		{Info: Info{"user-by-prefix", Warning, "an account is told by a part of its name"}, find: userByPrefix},
		{Info: Info{"group-of-everybody", Warning, "the group holds everybody, or every service account"}, find: groupOfEverybody},
		{Info: Info{"trusts-manager", Warning, "the field manager decides, a name that anyone can choose"}, entry: exception, find: trustsManager},
		{Info: Info{"asker-decides", Warning, "a label or annotation decides that the request itself can set"}, entry: exception, find: askerDecides},
		{Info: Info{"deny-stops-controllers", Warning, "a deny without a condition on the account stops controllers, too"}, entry: deny, find: denyStopsControllers},
		{Info: Info{"only-at-admission", Note, "an exception is true at the door, and not for drift that is found later"}, entry: exception, find: onlyAtAdmission},

		// When.
		{Info: Info{"freeze-without-end", Warning, "a deny that stops git has no end"}, entry: deny, find: freezeWithoutEnd},
		{Info: Info{"bad-window", Warning, "a window, weekday or time zone that does not exist"}, find: badWindow},
		{Info: Info{"final-without-next", Warning, "no grant beats the deny, and it does not say what to do instead"}, entry: deny, find: finalWithoutNext},

		// Paths.
		{Info: Info{"path-in-wrong-form", Warning, "a path is compared with a text that no path is written like"}, find: pathInWrongForm},
		{Info: Info{"path-not-in-schema", Warning, "the kind has no such field"}, entry: exception, find: pathNotInSchema},
		{Info: Info{"path-never-judged", Warning, "the path is never judged, or no exception can cover it"}, entry: exception, find: pathNeverJudged},

		// Values.
		{Info: Info{"never-equal", Warning, "a member of input is compared with a word that it never is"}, find: neverEqual},
		{Info: Info{"unknown-kind", Warning, "a kind is misspelt, in the plural, or in another group"}, find: unknownKind},
		{Info: Info{"not-on-undefined", Warning, "a negation is true where its subject is undefined"}, find: notOnUndefined},
		{Info: Info{"quantity-as-text", Warning, "quantities are compared as texts"}, find: quantityAsText},
		{Info: Info{"secret-in-clear", Warning, "the value of a Secret is compared with a text; policies see a keyed hash"}, find: secretInClear},
		{Info: Info{"registry-prefix", Warning, "an image is told by a part of its name that others can have, too"}, find: registryPrefix},
		{Info: Info{"regex-unanchored", Warning, "a pattern matches anywhere in the text"}, find: regexUnanchored},

		// Shape.
		{Info: Info{"unreachable-rule", Warning, "no exception and no deny uses the rule"}, whole: unreachable},
		{Info: Info{"not-indexable", Note, "nothing lets the index skip the rule: it is asked about every change"}, whole: notIndexable},
		{Info: Info{"missing-title", Note, "an entry rule without a title, which lists and reviews show"}, entry: anyEntry, find: missingTitle},
		{Info: Info{"untested", Note, "a package with entry rules and no test"}, whole: untested},
	}
}
