// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reload_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/reload"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

const home = "mainstay-system"

const good = `package team

# METADATA
# title: Anyone may scale
exception contains {"reason": "scale as you like", "paths": ["spec.replicas"]} if input.operation == "UPDATE"
`

// watched is the real engine, and remembers what is in force.
type watched struct {
	*policy.Engine
	sources map[string]policy.Source
	trouble policy.Trouble
}

func (w *watched) Trouble(string) (policy.Trouble, bool) { return w.trouble, w.trouble.Errors > 0 }

func (w *watched) Load(ctx context.Context, s policy.Source) (policy.Loaded, error) {
	loaded, err := w.Engine.Load(ctx, s)
	if err == nil {
		w.sources[s.Key] = s
	}
	return loaded, err
}

func (w *watched) Unload(key string) {
	w.Engine.Unload(key)
	delete(w.sources, key)
}

type stage struct {
	t        *testing.T
	client   client.Client
	key      *seal.Key
	engine   *watched
	events   *events.FakeRecorder
	reloader *reload.Reloader
	leads    bool
}

func newStage(t *testing.T) *stage {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, v1alpha1.AddToScheme(scheme))
	must(t, corev1.AddToScheme(scheme))
	secret, err := seal.Generate()
	must(t, err)
	key, err := seal.NewKey(secret)
	must(t, err)
	engine, err := policy.New(t.Context(), policy.Options{})
	must(t, err)
	s := &stage{
		t: t, key: key, engine: &watched{Engine: engine, sources: map[string]policy.Source{}}, events: events.NewFakeRecorder(100), leads: true,
		client: fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.ChangePolicy{}).Build(),
	}
	s.reloader, err = reload.New(s.options())
	must(t, err)
	return s
}

func (s *stage) options() reload.Options {
	return reload.Options{
		Client: s.client, Loader: s.engine, Events: s.events, Namespace: home,
		Leader: func() bool { return s.leads }, Key: s.key, Replica: "one",
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func changePolicy(namespace, name, rego string) *v1alpha1.ChangePolicy {
	return &v1alpha1.ChangePolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Generation: 1},
		Spec:       v1alpha1.ChangePolicySpec{Modules: map[string]string{"team.rego": rego}},
	}
}

// write puts a ChangePolicy into the cluster, in place of another one, and
// reconciles it. It returns its Ready condition.
func (s *stage) write(cp *v1alpha1.ChangePolicy) *metav1.Condition {
	s.t.Helper()
	old := &v1alpha1.ChangePolicy{}
	key := client.ObjectKeyFromObject(cp)
	if err := s.client.Get(s.t.Context(), key, old); err == nil {
		old.Spec, old.Annotations = cp.Spec, cp.Annotations
		must(s.t, s.client.Update(s.t.Context(), old))
	} else {
		must(s.t, s.client.Create(s.t.Context(), cp.DeepCopy()))
	}
	s.reconcile(key)
	must(s.t, s.client.Get(s.t.Context(), key, old))
	return meta.FindStatusCondition(old.Status.Conditions, v1alpha1.ConditionReady)
}

func (s *stage) reconcile(key types.NamespacedName) {
	s.t.Helper()
	_, err := s.reloader.Reconcile(s.t.Context(), reconcile.Request{NamespacedName: key})
	must(s.t, err)
}

func (s *stage) inForce() string {
	return strings.Join(slices.Sorted(maps.Keys(s.engine.sources)), " ")
}

func TestAGoodPolicyIsInForceAndSaysSo(t *testing.T) {
	s := newStage(t)
	c := s.write(changePolicy(home, "scale", good))
	if c == nil || c.Status != metav1.ConditionTrue || c.Reason != "Loaded" || c.Message != "1 rules in force, 0 tests passed" {
		t.Errorf("Ready = %+v", c)
	}
	if got := s.inForce(); got != "changepolicy/mainstay-system/scale" {
		t.Errorf("in force: %q", got)
	}
	var cp v1alpha1.ChangePolicy
	must(t, s.client.Get(t.Context(), types.NamespacedName{Namespace: home, Name: "scale"}, &cp))
	if len(cp.Status.Rules) != 1 || cp.Status.Rules[0] != (v1alpha1.RuleStatus{Name: "team.exception", Title: "Anyone may scale", Kind: "exception"}) {
		t.Errorf("rules = %+v", cp.Status.Rules)
	}
	t.Run("until it is deleted", func(t *testing.T) {
		must(t, s.client.Delete(t.Context(), &cp))
		s.reconcile(client.ObjectKeyFromObject(&cp))
		if got := s.inForce(); got != "" {
			t.Errorf("in force: %q", got)
		}
	})
}

func TestABadPolicySaysWhereAndTheLastGoodOneStays(t *testing.T) {
	for name, tt := range map[string]struct{ rego, says string }{
		"it does not parse":            {"package team\n\nexception contains {", "team.rego:3:"},
		"it does not compile":          {"package team\n\ndeny contains {\"reason\": x} if input.nothing\n", "team.rego:3:"},
		"it uses a forbidden built-in": {"package team\n\ndeny contains {\"reason\": \"x\"} if http.send({\"url\": \"x\"})\n", "team.rego:3:"},
		"it misnames the rule":         {"package team\n\nviolation contains {\"reason\": \"x\"} if input.operation == \"UPDATE\"\n", "did you mean"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.write(changePolicy(home, "scale", good))
			c := s.write(changePolicy(home, "scale", tt.rego))
			if c == nil || c.Status != metav1.ConditionFalse || c.Reason != "LoadFailed" ||
				!strings.Contains(c.Message, tt.says) || !strings.Contains(c.Message, "the last good set stays in force") {
				t.Errorf("Ready = %+v, want it to say %q and what stays", c, tt.says)
			}
			if got := s.engine.sources["changepolicy/mainstay-system/scale"].Modules["team.rego"]; got != good {
				t.Errorf("in force:\n%s", got)
			}
			select {
			case e := <-s.events.Events:
				if !strings.Contains(e, "Warning LoadFailed") {
					t.Errorf("event %q", e)
				}
			default:
				t.Error("there is no event")
			}
			s.reconcile(types.NamespacedName{Namespace: home, Name: "scale"})
			select {
			case e := <-s.events.Events:
				t.Errorf("said twice: %q", e)
			default:
			}
		})
	}
}

func TestAPolicyJudgesWhatItsNamespaceMay(t *testing.T) {
	s := newStage(t)
	s.write(changePolicy(home, "all", good))
	s.write(changePolicy("shop", "own", good))
	for key, namespace := range map[string]string{
		"changepolicy/mainstay-system/all": "", // every namespace
		"changepolicy/shop/own":            "shop",
	} {
		if source, ok := s.engine.sources[key]; !ok || source.Namespace != namespace || source.Sync != nil {
			t.Errorf("%s: %+v, want it limited to namespace %q", key, source, namespace)
		}
	}
}

func TestAPolicyOfARepositoryNeedsMainstaysSeal(t *testing.T) {
	sync := types.NamespacedName{Namespace: home, Name: "shop"}
	other := types.NamespacedName{Namespace: home, Name: "till"}
	foreign := func(t *testing.T) *seal.Key {
		secret, err := seal.Generate()
		must(t, err)
		key, err := seal.NewKey(secret)
		must(t, err)
		return key
	}
	t.Run("one that Mainstay wrote judges that GitSync's objects alone", func(t *testing.T) {
		s := newStage(t)
		cp := changePolicy(home, "gitsync-shop", good)
		must(t, reload.SealModules(s.key, sync, cp))
		if c := s.write(cp); c == nil || c.Status != metav1.ConditionTrue {
			t.Fatalf("Ready = %+v", c)
		}
		if source := s.engine.sources["gitsync/mainstay-system/shop"]; source.Sync == nil || *source.Sync != sync {
			t.Errorf("in force: %+v", source)
		}
		must(t, s.client.Delete(t.Context(), cp))
		s.reconcile(client.ObjectKeyFromObject(cp))
		if got := s.inForce(); got != "" {
			t.Errorf("in force after it was deleted: %q", got)
		}
	})
	for name, forge := range map[string]func(t *testing.T, s *stage, cp *v1alpha1.ChangePolicy){
		"no seal": func(*testing.T, *stage, *v1alpha1.ChangePolicy) {},
		"a seal with another key": func(t *testing.T, _ *stage, cp *v1alpha1.ChangePolicy) {
			must(t, reload.SealModules(foreign(t), sync, cp))
		},
		"a seal for another GitSync": func(t *testing.T, s *stage, cp *v1alpha1.ChangePolicy) { must(t, reload.SealModules(s.key, other, cp)) },
		"modules edited afterwards": func(t *testing.T, s *stage, cp *v1alpha1.ChangePolicy) {
			must(t, reload.SealModules(s.key, sync, cp))
			cp.Spec.Modules["team.rego"] = strings.ReplaceAll(good, "spec.replicas", "**")
		},
		"a policy of the library added afterwards": func(t *testing.T, s *stage, cp *v1alpha1.ChangePolicy) {
			must(t, reload.SealModules(s.key, sync, cp))
			cp.Spec.Library = []string{"keda"}
		},
		"parameters edited afterwards": func(t *testing.T, s *stage, cp *v1alpha1.ChangePolicy) {
			cp.Spec.Parameters = v1alpha1.Parameters{"p": {Raw: []byte(`{"a": 1}`)}}
			must(t, reload.SealModules(s.key, sync, cp))
			cp.Spec.Parameters = v1alpha1.Parameters{"p": {Raw: []byte(`{"a": 2}`)}}
		},
		"a module added afterwards": func(t *testing.T, s *stage, cp *v1alpha1.ChangePolicy) {
			must(t, reload.SealModules(s.key, sync, cp))
			cp.Spec.Modules["more.rego"] = strings.ReplaceAll(good, "package team", "package more")
		},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			s := newStage(t)
			cp := changePolicy(home, "gitsync-shop", good)
			forge(t, s, cp)
			if err := reload.VerifyModules(s.key, sync, cp); !errors.Is(err, seal.ErrSeal) {
				t.Errorf("VerifyModules: %v, want seal.ErrSeal", err)
			}
			c := s.write(cp)
			if c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "gitsync-") {
				t.Errorf("Ready = %+v, want False and what the name is for", c)
			}
			if got := s.inForce(); got != "" {
				t.Errorf("in force: %q", got)
			}
		})
	}
}

func TestAPolicyOfTheLibraryComesByName(t *testing.T) {
	sync := types.NamespacedName{Namespace: home, Name: "shop"}
	spec := v1alpha1.ChangePolicySpec{
		Library:    []string{"keda"},
		Parameters: v1alpha1.Parameters{"keda": {Raw: []byte(`{"accounts": ["a:b"]}`)}},
	}
	s := newStage(t)
	cp := changePolicy(home, "gitsync-shop", good)
	cp.Spec = spec
	must(t, reload.SealModules(s.key, sync, cp))
	// The API server keeps the value, not how it was written.
	cp.Spec.Parameters = v1alpha1.Parameters{"keda": {Raw: []byte(`{"accounts":  [ "a:b" ]}`)}}
	c := s.write(cp)
	if c == nil || c.Status != metav1.ConditionTrue || c.Message != "2 rules in force, 0 tests passed" {
		t.Errorf("Ready = %+v", c)
	}
	if !reload.SameModules(s.key, sync, cp, spec) {
		t.Error("the same is not the same")
	}
	other := spec
	other.Library = []string{"keda", "vpa"}
	if reload.SameModules(s.key, sync, cp, other) {
		t.Error("another policy is taken for the same")
	}
	t.Run("also where a person writes it", func(t *testing.T) {
		own := changePolicy(home, "scaling", good)
		own.Spec = spec
		if c := s.write(own); c == nil || c.Status != metav1.ConditionTrue {
			t.Errorf("Ready = %+v", c)
		}
		own.Spec.Library, own.Spec.Parameters = []string{"kedda"}, nil
		if c := s.write(own); c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, `did you mean "keda"?`) {
			t.Errorf("Ready = %+v", c)
		}
	})
}

func TestLoadAllLoadsWhatIsGood(t *testing.T) {
	s := newStage(t)
	for _, cp := range []*v1alpha1.ChangePolicy{
		changePolicy(home, "a-bad", "package"), changePolicy(home, "b-good", good), changePolicy(home, "gitsync-forged", good),
	} {
		must(t, s.client.Create(t.Context(), cp))
	}
	must(t, s.reloader.LoadAll(t.Context()))
	if got := s.inForce(); got != "changepolicy/mainstay-system/b-good" {
		t.Errorf("in force: %q, want the good one alone", got)
	}
}

func TestOnlyTheLeaderWritesStatus(t *testing.T) {
	s := newStage(t)
	s.leads = false
	if c := s.write(changePolicy(home, "scale", good)); c != nil {
		t.Errorf("Ready = %+v, want no status", c)
	}
	if got := s.inForce(); got == "" {
		t.Error("the policy is not in force")
	}
}

func TestNewNamesTheOptionThatIsMissing(t *testing.T) {
	s := newStage(t)
	for option, without := range map[string]func(o *reload.Options){
		"Client":    func(o *reload.Options) { o.Client = nil },
		"Loader":    func(o *reload.Options) { o.Loader = nil },
		"Events":    func(o *reload.Options) { o.Events = nil },
		"Namespace": func(o *reload.Options) { o.Namespace = "" },
		"Leader":    func(o *reload.Options) { o.Leader = nil },
		"Key":       func(o *reload.Options) { o.Key = nil },
	} {
		o := s.options()
		without(&o)
		if _, err := reload.New(o); err == nil || !strings.Contains(err.Error(), option+" is required") {
			t.Errorf("without %s: %v", option, err)
		}
	}
}

// restarted is the same cluster with a new replica.
func (s *stage) restarted(name string) *stage {
	s.t.Helper()
	engine, err := policy.New(s.t.Context(), policy.Options{})
	must(s.t, err)
	next := &stage{t: s.t, client: s.client, key: s.key, engine: &watched{Engine: engine, sources: map[string]policy.Source{}}, events: s.events}
	o := next.options()
	o.Replica = name
	next.reloader, err = reload.New(o)
	must(s.t, err)
	must(s.t, next.reloader.LoadAll(s.t.Context()))
	return next
}

const bad = "package team\n\nexception contains {"

func TestARestartServesTheLastGoodSet(t *testing.T) {
	const inForce = "changepolicy/mainstay-system/scale"
	key := types.NamespacedName{Namespace: home, Name: "scale"}
	record := func(t *testing.T, s *stage) *corev1.Secret {
		t.Helper()
		var list corev1.SecretList
		must(t, s.client.List(t.Context(), &list, client.InNamespace(home)))
		if len(list.Items) != 1 || list.Items[0].Type != v1alpha1.SecretTypePolicy {
			t.Fatalf("%d records", len(list.Items))
		}
		return &list.Items[0]
	}
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, s *stage)
		want  string
	}{
		"as it was": {func(*testing.T, *stage) {}, inForce},
		"not where somebody wrote it": {func(t *testing.T, s *stage) {
			secret := record(t, s)
			secret.Data["seal"] = []byte("00")
			must(t, s.client.Update(t.Context(), secret))
		}, ""},
		"not where it is no longer there": {func(t *testing.T, s *stage) {
			must(t, s.client.Delete(t.Context(), record(t, s)))
		}, ""},
		"not that of another one of the same name": {func(t *testing.T, s *stage) {
			var cp v1alpha1.ChangePolicy
			must(t, s.client.Get(t.Context(), key, &cp))
			cp.UID = "another"
			must(t, s.client.Update(t.Context(), &cp))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.write(changePolicy(home, "scale", good))
			s.write(changePolicy(home, "scale", bad))
			tt.spoil(t, s)
			next := s.restarted("two")
			if got := next.inForce(); got != tt.want {
				t.Errorf("in force: %q, want %q", got, tt.want)
			}
			if tt.want != "" && next.engine.sources[tt.want].Modules["team.rego"] != good {
				t.Errorf("in force: %v", next.engine.sources[tt.want].Modules)
			}
			next.reconcile(key)
			var cp v1alpha1.ChangePolicy
			must(t, s.client.Get(t.Context(), key, &cp))
			if c := meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Status != metav1.ConditionFalse {
				t.Errorf("Ready = %+v", c)
			}
		})
	}
	t.Run("its record goes with the ChangePolicy", func(t *testing.T) {
		s := newStage(t)
		s.write(changePolicy(home, "scale", good))
		record(t, s)
		must(t, s.client.Delete(t.Context(), changePolicy(home, "scale", good)))
		s.reconcile(key)
		var list corev1.SecretList
		must(t, s.client.List(t.Context(), &list))
		if len(list.Items) != 0 {
			t.Errorf("%d records", len(list.Items))
		}
	})
	t.Run("one that never loaded says so", func(t *testing.T) {
		s := newStage(t)
		if c := s.write(changePolicy(home, "scale", bad)); c == nil || !strings.Contains(c.Message, "nothing of it is in force") {
			t.Errorf("Ready = %+v", c)
		}
	})
}

func TestEveryReplicaSaysWhichGenerationItServes(t *testing.T) {
	s := newStage(t)
	cp := changePolicy(home, "scale", good)
	key := client.ObjectKeyFromObject(cp)
	s.write(cp)
	other := s.restarted("two")
	other.reconcile(key)
	serving := func() string {
		t.Helper()
		var cp v1alpha1.ChangePolicy
		must(t, s.client.Get(t.Context(), key, &cp))
		var out []string
		for _, r := range cp.Status.Replicas {
			out = append(out, fmt.Sprintf("%s=%d", r.Name, r.Generation))
		}
		return strings.Join(out, " ")
	}
	if got := serving(); got != "one=1 two=1" {
		t.Errorf("serving %q", got)
	}
	var live v1alpha1.ChangePolicy
	must(t, s.client.Get(t.Context(), key, &live))
	live.Generation, live.Spec.Modules = 2, map[string]string{"team.rego": bad}
	must(t, s.client.Update(t.Context(), &live))
	s.reconcile(key)
	other.reconcile(key)
	if got := serving(); got != "one=1 two=1" {
		t.Errorf("with one that does not load they serve %q", got)
	}
	live.Generation, live.Spec.Modules = 3, map[string]string{"team.rego": good + "# More.\n"}
	must(t, s.client.Get(t.Context(), key, &v1alpha1.ChangePolicy{}))
	var again v1alpha1.ChangePolicy
	must(t, s.client.Get(t.Context(), key, &again))
	again.Generation, again.Spec = 3, live.Spec
	must(t, s.client.Update(t.Context(), &again))
	s.reconcile(key)
	if got := serving(); got != "one=3 two=1" {
		t.Errorf("while one of them lags they serve %q", got)
	}
	t.Run("one that is silent for long is gone", func(t *testing.T) {
		var cp v1alpha1.ChangePolicy
		must(t, s.client.Get(t.Context(), key, &cp))
		for i := range cp.Status.Replicas {
			cp.Status.Replicas[i].Time = metav1.NewTime(time.Now().Add(-time.Hour))
		}
		must(t, s.client.Status().Update(t.Context(), &cp))
		s.reconcile(key)
		if got := serving(); got != "one=3" {
			t.Errorf("serving %q", got)
		}
	})
}

func TestErrorsOfJudgingAreInTheStatus(t *testing.T) {
	s := newStage(t)
	cp := changePolicy(home, "scale", good)
	key := client.ObjectKeyFromObject(cp)
	failing := func() *metav1.Condition {
		t.Helper()
		s.reconcile(key)
		var cp v1alpha1.ChangePolicy
		must(t, s.client.Get(t.Context(), key, &cp))
		return meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionFailing)
	}
	s.write(cp)
	if c := failing(); c == nil || c.Status != metav1.ConditionFalse {
		t.Errorf("Failing = %+v", c)
	}
	s.engine.trouble = policy.Trouble{Errors: 3, Last: "team.exception: boom", At: time.Now()}
	if c := failing(); c == nil || c.Status != metav1.ConditionTrue || c.Reason != "EvaluationFailed" || !strings.Contains(c.Message, "replica one: 3 errors") || !strings.Contains(c.Message, "boom") {
		t.Errorf("Failing = %+v", c)
	}
	s.engine.trouble.Quarantined = "team.exception: quarantined since 12:00:00 UTC"
	if c := failing(); c == nil || c.Status != metav1.ConditionTrue || c.Reason != "Quarantined" || !strings.Contains(c.Message, "quarantined since") {
		t.Errorf("Failing = %+v", c)
	}
	s.engine.trouble = policy.Trouble{}
	if c := failing(); c == nil || c.Status != metav1.ConditionFalse {
		t.Errorf("Failing = %+v", c)
	}
}
