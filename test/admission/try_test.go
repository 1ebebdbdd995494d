// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fastjson"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/policy/fieldset"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// verdict is what becomes of a request; the README's answers begin with it.
type verdict string

const (
	refused   verdict = "refused"
	permitted verdict = "permitted"
	warned    verdict = "permitted, with a warning"
	reverted  verdict = "reverted"
	corrected verdict = "corrected"
	// elsewhere is an answer of the API server that is not Mainstay's.
	elsewhere verdict = "the API server's own answer"
)

// situation is one row of the README's table.
type situation struct {
	// name in a reader's words.
	name string
	// want is the verdict of every try; note says more in the README.
	want verdict
	note string
	// before and after are commands that are shown around the tries. Each is
	// repeated until it succeeds: what it builds on may take a moment.
	before, after []string
	tries         []try
	// check is what the commands alone don't show.
	check func(t *testing.T, s *shell)
}

// try is one way into the situation.
type try struct {
	// line is the command; where do is set, it says what that does.
	line string
	do   func(t *testing.T, s *shell) (string, error)
	// with looks at what was printed.
	with func(t *testing.T, s *shell, out string)
	// says is part of what is printed.
	says string
	// on is the object that the request is about: kind/name, or
	// kind/namespace/name. It is as it was afterwards, but for live.
	on string
	// live is what its fields are afterwards, by path; empty: absent.
	live map[string]string
	// beyond is the API server's own refusal of what admission has permitted.
	beyond string
	// soon tells that the answer may take a moment to become true.
	soon bool
	// undo is run when the situation is over, and not shown.
	undo string
}

func (s *shell) situation(t *testing.T, row situation) {
	for _, line := range row.before {
		s.insist(t, line)
	}
	for _, try := range row.tries {
		t.Run(try.line, func(t *testing.T) { s.try(t, row.want, try) })
	}
	// The loop has had its chance: what was permitted still stands.
	stands := map[string]map[string]string{}
	for _, try := range row.tries {
		if try.on != "" && try.live != nil && row.want != reverted {
			if stands[try.on] == nil {
				stands[try.on] = map[string]string{}
			}
			maps.Copy(stands[try.on], try.live)
		}
	}
	for on, live := range stands {
		compare(t, on, find(t, on), live)
	}
	if row.check != nil {
		row.check(t, s)
	}
	for _, try := range row.tries {
		if try.undo != "" {
			s.insist(t, try.undo)
		}
	}
	for _, line := range row.after {
		s.insist(t, line)
	}
}

// insist repeats a line until it succeeds.
func (s *shell) insist(t *testing.T, line string) {
	t.Helper()
	shared.Await(t, line, func() (bool, string) {
		out, err := s.run(t, line)
		return err == nil, out
	})
}

func (s *shell) try(t *testing.T, want verdict, try try) {
	before := find(t, try.on)
	do := try.do
	if do == nil {
		do = func(t *testing.T, s *shell) (string, error) { return s.run(t, try.line) }
	}
	out, err := do(t, s)
	problem := answered(want, try, out, err)
	if problem != "" && try.soon {
		shared.Await(t, string(want), func() (bool, string) {
			out, err = do(t, s)
			problem = answered(want, try, out, err)
			return problem == "", problem
		})
	}
	if problem != "" {
		t.Fatalf("%s\n%s", problem, out)
	}
	if try.with != nil {
		try.with(t, s, out)
	}
	if want == reverted {
		shared.Await(t, "it is as git says", func() (bool, string) {
			diff := cmp.Diff(lasting(before), lasting(find(t, try.on)))
			return diff == "", diff
		})
		return
	}
	if try.live != nil {
		compare(t, try.on, find(t, try.on), try.live)
		return
	}
	if diff := cmp.Diff(before, find(t, try.on)); diff != "" {
		t.Errorf("%s has changed (-before +after):\n%s", try.on, diff)
	}
}

// answered compares what a command printed with the verdict; it returns the
// problem, or nothing.
func answered(want verdict, try try, out string, err error) string {
	denied := strings.Contains(out, "denied the request")
	switch {
	case !strings.Contains(out, try.says):
		return "it does not say " + try.says
	case want == refused && try.do == nil && (err == nil || !denied), want == refused && err == nil:
		return "it is not refused"
	case want == refused:
		return ""
	case denied:
		return "it is refused"
	case want == elsewhere && err == nil:
		return "it is permitted"
	case want == elsewhere:
		return ""
	case try.beyond != "" && (err == nil || !strings.Contains(out, try.beyond)):
		return "the API server does not say " + try.beyond
	case try.beyond == "" && err != nil:
		return "it fails"
	case want == warned:
		return tooLong(out)
	}
	return ""
}

// tooLong tells whether there is no warning, or one of more than 120
// characters.
func tooLong(out string) string {
	for line := range strings.Lines(out) {
		if warning, ok := strings.CutPrefix(strings.TrimSpace(line), "Warning: "); ok {
			if utf8.RuneCountInString(warning) > 120 {
				return "the warning is too long"
			}
			return ""
		}
	}
	return "it does not warn"
}

// kinds are those that tries name.
var kinds = map[string]schema.GroupVersionKind{
	"deployment":        {Group: "apps", Version: "v1", Kind: "Deployment"},
	"configmap":         {Version: "v1", Kind: "ConfigMap"},
	"secret":            {Version: "v1", Kind: "Secret"},
	"service":           {Version: "v1", Kind: "Service"},
	"pod":               {Version: "v1", Kind: "Pod"},
	"namespace":         {Version: "v1", Kind: "Namespace"},
	"autoscaler":        {Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"},
	"definition":        {Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
	"validatingwebhook": {Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"},
	"widget":            {Group: "shop.example", Version: "v1", Kind: "Widget"},
	"gadget":            {Group: "shop.example", Version: "v1", Kind: "Gadget"},
	"gitsync":           {Group: "mainstay.dev", Version: "v1alpha1", Kind: "GitSync"},
	"inventory":         {Group: "mainstay.dev", Version: "v1alpha1", Kind: "Inventory"},
	"changepolicy":      {Group: "mainstay.dev", Version: "v1alpha1", Kind: "ChangePolicy"},
}

// find returns an object without what is not its users' business; nil if there
// is none.
func find(t *testing.T, on string) map[string]any {
	t.Helper()
	if on == "" {
		return nil
	}
	parts := strings.Split(on, "/")
	kind, ok := kinds[parts[0]]
	if !ok {
		t.Fatalf("%s: kind is not known", on)
	}
	object := new(unstructured.Unstructured)
	object.SetGroupVersionKind(kind)
	key := client.ObjectKey{Namespace: "shop", Name: parts[len(parts)-1]}
	switch {
	case len(parts) == 3:
		key.Namespace = parts[1]
	case parts[0] == "namespace" || parts[0] == "definition" || parts[0] == "validatingwebhook":
		key.Namespace = ""
	}
	err := shared.Client.Get(t.Context(), key, object)
	if apierrors.IsNotFound(err) {
		return nil
	}
	world.Must(t, err)
	object.SetManagedFields(nil)
	object.SetResourceVersion("")
	object.SetGeneration(0)
	if parts[0] != "gadget" {
		delete(object.Object, "status")
	}
	return object.Object
}

// lasting is what an object has in common with its successor.
func lasting(object map[string]any) map[string]any {
	if metadata, ok := object["metadata"].(map[string]any); ok {
		delete(metadata, "uid")
		delete(metadata, "creationTimestamp")
	}
	return object
}

// compare compares fields of an object.
func compare(t *testing.T, on string, object map[string]any, want map[string]string) {
	t.Helper()
	raw, err := json.Marshal(object)
	world.Must(t, err)
	parsed, err := fastjson.ParseBytes(raw)
	world.Must(t, err)
	got := map[string]string{}
	for text := range want {
		path, err := fieldset.Parse(text)
		world.Must(t, err)
		got[text] = ""
		switch v := fieldset.At(parsed, path); {
		case v == nil:
		case v.Type() == fastjson.TypeString:
			got[text] = string(v.GetStringBytes())
		default:
			got[text] = v.String()
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", on, diff)
	}
}
