// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package configsync

import (
	"sync"
	"testing"
)

// ignoredBesides is what is done to what is ignored while the webhook is away,
// at once for all scenarios of it, and by that the controller starts anew.
func ignoredBesides(t *testing.T) {
	t.Helper()
	allowed(t, "annotate namespace c9 season-")
	stays(t, "namespace c9", annotation("season"), "absent")
	withoutWebhook(t, func() {
		allowed(t, "delete namespace c5")
		allowed(t, "label namespace c7 mainstay.dev/sync-")
		allowed(t, "annotate namespace c1 mainstay.dev/mode=Audit")
	})
}

// ignoring are the scenarios of objects in which changes are ignored.
func ignoring() []scenario {
	var once sync.Once
	slip := func(t *testing.T) {
		t.Helper()
		once.Do(func() { ignoredBesides(t) })
	}
	return []scenario{
		{
			id: "C1", when: "git says season=summer; then git has changes ignored and says winter", theirs: "stays summer",
			ours: "winter",
			why:  "an exception lets what others changed stand; nobody changed anything, so git's new value is git's",
			try: func(t *testing.T) {
				commit(t, map[string]string{"c/c1.yaml": namespace("c1", "season=summer")})
				ignore(t, "c*")
				commit(t, map[string]string{"c/c1.yaml": namespace("c1", "season=winter")})
				is(t, "namespace c1", annotation("season"), "winter")
			},
		},
		{
			id: "C2", when: "git no longer has changes ignored and says fall", theirs: "fall",
			try: func(t *testing.T) {
				ignore(t)
				commit(t, map[string]string{"c/c1.yaml": namespace("c1", "season=fall")})
				is(t, "namespace c1", annotation("season"), "fall")
			},
		},
		{
			id: "C3", when: "a live Namespace without season; git declares it, ignored, with season=summer", theirs: "taken over, season not applied",
			try: func(t *testing.T) {
				ignore(t, "c*")
				allowed(t, "create namespace c3")
				commit(t, map[string]string{"c/c3.yaml": namespace("c3", "season=summer")})
				is(t, "namespace c3", `.metadata.labels.mainstay\.dev/sync`, label("Namespace", "", "c3"))
				is(t, "namespace c3", annotation("season"), "absent")
			},
		},
		{
			id: "C4", when: "a live Namespace that carries the marker; git declares it without", theirs: "season applied, marker removed",
			try: func(t *testing.T) {
				ignore(t)
				allowed(t, "create -f -", namespace("c4", "mainstay.dev/mode=Audit"))
				commit(t, map[string]string{"c/c4.yaml": namespace("c4", "season=summer")})
				is(t, "namespace c4", annotation("season"), "summer")
				becomes(t, "namespace c4", annotation("mainstay.dev/mode"), "absent")
				denied(t, "annotate namespace c4 --overwrite season=winter")
			},
		},
		{
			id: "C5", when: "ignored; git removes foo; a person sets foo=baz", theirs: "foo stays bar, then baz",
			try: func(t *testing.T) {
				ignore(t, "c*")
				commit(t, map[string]string{"c/c5.yaml": namespace("c5", "season=summer", "foo=bar")})
				denied(t, "delete namespace c5")
				commit(t, map[string]string{"c/c5.yaml": namespace("c5", "season=summer")})
				stays(t, "namespace c5", annotation("foo"), "bar")
				allowed(t, "annotate namespace c5 --overwrite foo=baz")
				stays(t, "namespace c5", annotation("foo"), "baz")
			},
		},
		{
			id: "C6", when: "ignored; git removes the Namespace, and declares it again with winter", theirs: "pruned; made with winter",
			try: func(t *testing.T) {
				commit(t, map[string]string{"c/c6.yaml": namespace("c6", "season=summer")})
				commit(t, map[string]string{"c/c6.yaml": ""})
				becomes(t, "namespace c6", ".metadata.name", "absent")
				commit(t, map[string]string{"c/c6.yaml": namespace("c6", "season=winter")})
				is(t, "namespace c6", annotation("season"), "winter")
			},
		},
		{
			id: "C7", when: "ignored; git adds season=summer; a person sets winter; another commit; a person sets fall", theirs: "summer is never applied; winter and fall are kept",
			ours: "summer is applied; winter and fall are kept", why: "as C1",
			try: func(t *testing.T) {
				commit(t, map[string]string{"c/c7.yaml": namespace("c7"), "c/c9.yaml": namespace("c9", "season=summer")})
				commit(t, map[string]string{"c/c7.yaml": namespace("c7", "season=summer")})
				is(t, "namespace c7", annotation("season"), "summer")
				allowed(t, "annotate namespace c7 --overwrite season=winter")
				stays(t, "namespace c7", annotation("season"), "winter")
				allowed(t, "annotate namespace c7 --overwrite season=fall")
				stays(t, "namespace c7", annotation("season"), "fall")
			},
		},
		{
			id: "C5", when: "… the Namespace is deleted while the webhook is away", theirs: "made again without foo",
			try: func(t *testing.T) {
				uid := live(t, "namespace c5", ".metadata.uid")
				slip(t)
				shared.Await(t, "the namespace is there again", func() (bool, string) {
					now := live(t, "namespace c5", ".metadata.uid")
					return now != "absent" && now != uid, now
				})
				is(t, "namespace c5", annotation("season"), "summer")
				is(t, "namespace c5", annotation("foo"), "absent")
			},
		},
		{
			id: "C8", when: "ignored; the tool's metadata is changed or removed while the webhook is away", theirs: "restored",
			try: func(t *testing.T) {
				slip(t)
				becomes(t, "namespace c7", `.metadata.labels.mainstay\.dev/sync`, label("Namespace", "", "c7"))
				is(t, "namespace c7", annotation("season"), "fall")
				denied(t, "label namespace c7 mainstay.dev/sync-")
			},
		},
		{
			id: "C9", when: "ignored; a person removes the declared season; the controller starts anew", theirs: "not restored",
			try: func(t *testing.T) {
				slip(t)
				stays(t, "namespace c9", annotation("season"), "absent")
			},
		},
		{
			id: "C10", when: "not ignored; a person adds the marker while the webhook is away", theirs: "removed",
			try: func(t *testing.T) {
				slip(t)
				becomes(t, "namespace c1", annotation("mainstay.dev/mode"), "absent")
			},
		},
		{
			id: "C11", when: "ignored; a person adds another annotation", theirs: "kept",
			try: func(t *testing.T) {
				allowed(t, "annotate namespace c7 note=x")
				stays(t, "namespace c7", annotation("note"), "x")
			},
		},
	}
}
