// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/seal"
)

// Loader compiles, tests and swaps policies. policy.Engine does.
type Loader interface {
	Load(ctx context.Context, s policy.Source) (policy.Loaded, error)
	Unload(key string)
	// Trouble is what went wrong when the rules of a source were asked.
	Trouble(key string) (policy.Trouble, bool)
}

// Options are all required.
type Options struct {
	// Client reads ChangePolicies and writes their status, uncached.
	Client client.Client
	Loader Loader
	Events events.EventRecorder
	// Namespace of Mainstay: its ChangePolicies judge every namespace.
	Namespace string
	// Leader tells whether this replica writes conditions and records.
	Leader func() bool
	// Replica is this replica's name in the status.
	Replica string
	// Key verifies that policies of a repository were written by Mainstay.
	Key *seal.Key
}

// Reloader loads ChangePolicies.
type Reloader struct {
	o Options

	mu     sync.Mutex
	serves map[types.NamespacedName]*served
}

var _ reconcile.Reconciler = (*Reloader)(nil)

// New checks the options.
func New(o Options) (*Reloader, error) {
	switch {
	case o.Client == nil:
		return nil, errors.New("reload: Options.Client is required")
	case o.Loader == nil:
		return nil, errors.New("reload: Options.Loader is required")
	case o.Events == nil:
		return nil, errors.New("reload: Options.Events is required")
	case o.Namespace == "":
		return nil, errors.New("reload: Options.Namespace is required")
	case o.Leader == nil:
		return nil, errors.New("reload: Options.Leader is required")
	case o.Key == nil:
		return nil, errors.New("reload: Options.Key is required")
	case o.Replica == "":
		return nil, errors.New("reload: Options.Replica is required")
	}
	return &Reloader{o: o, serves: map[types.NamespacedName]*served{}}, nil
}

// LoadAll loads every ChangePolicy that is good, and the last good set of one
// that is not. That is reported where it belongs, in its status, and keeps no
// replica from starting.
func (r *Reloader) LoadAll(ctx context.Context) error {
	var list v1alpha1.ChangePolicyList
	if err := r.o.Client.List(ctx, &list); err != nil {
		return fmt.Errorf("list change policies: %w", err)
	}
	for i := range list.Items {
		if _, err := r.load(ctx, &list.Items[i]); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "change policy not loaded",
				"namespace", list.Items[i].Namespace, "name", list.Items[i].Name)
		}
	}
	return nil
}

// Reconcile loads one ChangePolicy after a change.
func (r *Reloader) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cp := new(v1alpha1.ChangePolicy)
	err := r.o.Client.Get(ctx, req.NamespacedName, cp)
	switch {
	case apierrors.IsNotFound(err):
		r.o.Loader.Unload(policy.ChangePolicySource(req.NamespacedName))
		if sync, ok := gitSync(req.NamespacedName); ok {
			r.o.Loader.Unload(policy.GitSyncSource(sync))
		}
		r.mu.Lock()
		delete(r.serves, req.NamespacedName)
		r.mu.Unlock()
		if r.o.Leader() {
			return reconcile.Result{}, r.drop(ctx, req.NamespacedName)
		}
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("get change policy %s: %w", req.NamespacedName, err)
	}
	loaded, loadErr := r.load(ctx, cp)
	if ctx.Err() != nil {
		return reconcile.Result{}, ctx.Err()
	}
	if r.o.Leader() {
		if err := r.report(ctx, cp, loaded, loadErr); err != nil {
			return reconcile.Result{}, err
		}
		if _, ofGit := gitSync(req.NamespacedName); !ofGit && loadErr == nil {
			if err := r.keep(ctx, cp); err != nil {
				return reconcile.Result{}, err
			}
		}
	}
	return reconcile.Result{}, r.say(ctx, req.NamespacedName)
}

// load puts a ChangePolicy in force or, where that fails and this replica serves
// none, its last good set. The error is that of the ChangePolicy as it is.
func (r *Reloader) load(ctx context.Context, cp *v1alpha1.ChangePolicy) (policy.Loaded, error) {
	key := client.ObjectKeyFromObject(cp)
	s, err := r.source(cp)
	if err != nil {
		return policy.Loaded{}, err
	}
	loaded, err := r.o.Loader.Load(ctx, s)
	if err == nil {
		r.serve(key, cp.Generation)
		return loaded, nil
	}
	if _, ofGit := gitSync(key); ofGit || r.generation(key) > 0 || ctx.Err() != nil {
		return loaded, err
	}
	r.serve(key, 0)
	last, lastErr := r.lastGood(ctx, cp)
	if lastErr != nil || last == nil {
		return loaded, errors.Join(err, lastErr)
	}
	s.Modules, s.Library, s.Parameters = last.Spec.Modules, last.Spec.Library, last.Spec.Parameters
	if _, lastErr := r.o.Loader.Load(ctx, s); lastErr != nil {
		return loaded, errors.Join(err, fmt.Errorf("the last good set: %w", lastErr))
	}
	r.serve(key, last.Generation)
	return loaded, err
}

// source says whom a ChangePolicy judges. One that comes from a GitSync's
// repository judges that GitSync's objects, and counts only with Mainstay's
// seal; another one judges the objects of its namespace, or all of them where
// that is Mainstay's own.
func (r *Reloader) source(cp *v1alpha1.ChangePolicy) (policy.Source, error) {
	key := client.ObjectKeyFromObject(cp)
	if sync, ok := gitSync(key); ok {
		if err := VerifyModules(r.o.Key, sync, cp); err != nil {
			return policy.Source{}, err
		}
		s := policy.RepositorySource(sync, r.o.Namespace, cp.Spec.Modules)
		s.Library, s.Parameters = cp.Spec.Library, cp.Spec.Parameters
		return s, nil
	}
	s := policy.Source{
		Key: policy.ChangePolicySource(key), Modules: cp.Spec.Modules,
		Library: cp.Spec.Library, Parameters: cp.Spec.Parameters,
	}
	if cp.Namespace != r.o.Namespace {
		s.Namespace = cp.Namespace
	}
	return s, nil
}

// gitSync is the GitSync that a ChangePolicy comes from, by its name: one that
// was deleted has no labels to tell.
func gitSync(key types.NamespacedName) (types.NamespacedName, bool) {
	name, ok := v1alpha1.GitSyncOfPolicy(key.Name)
	return types.NamespacedName{Namespace: key.Namespace, Name: name}, ok
}

func (r *Reloader) report(ctx context.Context, cp *v1alpha1.ChangePolicy, loaded policy.Loaded, loadErr error) error {
	before := cp.DeepCopy()
	cp.Status.ObservedGeneration = cp.Generation
	condition := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Loaded",
		Message:            fmt.Sprintf("%d rules in force, %d tests passed", len(loaded.Rules), loaded.Tests),
		ObservedGeneration: cp.Generation,
	}
	if loadErr != nil {
		condition.Status, condition.Reason = metav1.ConditionFalse, "LoadFailed"
		condition.Message = loadErr.Error() + "\n" + r.stays(client.ObjectKeyFromObject(cp))
	} else {
		cp.Status.Rules = nil
		for _, rule := range loaded.Rules {
			cp.Status.Rules = append(cp.Status.Rules, ruleStatus(rule))
		}
	}
	condition.Message = cut(condition.Message, 4096)
	meta.SetStatusCondition(&cp.Status.Conditions, condition)
	if equality.Semantic.DeepEqual(before.Status, cp.Status) {
		return nil
	}
	if loadErr != nil {
		r.o.Events.Eventf(cp, nil, corev1.EventTypeWarning, "LoadFailed", "Load", "%s", cut(loadErr.Error(), 1000))
	}
	if err := r.o.Client.Status().Patch(ctx, cp, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status of change policy %s/%s: %w", cp.Namespace, cp.Name, err)
	}
	return nil
}

// stays says what is in force in place of what does not load.
func (r *Reloader) stays(key types.NamespacedName) string {
	if _, ofGit := gitSync(key); !ofGit && r.generation(key) == 0 {
		return "nothing of it is in force: it never loaded"
	}
	return "the last good set stays in force"
}

func ruleStatus(rule policy.RuleInfo) v1alpha1.RuleStatus {
	s := v1alpha1.RuleStatus{Name: rule.Name, Title: rule.Title, Kind: rule.Kind}
	if rule.Until != nil {
		s.Until = &metav1.Time{Time: *rule.Until}
	}
	return s
}

// cut shortens a text to at most limit bytes, between characters.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len("…")], "") + "…"
}

// SetupWithManager has Reconcile called for every change of a ChangePolicy's
// modules, in every replica.
func (r *Reloader) SetupWithManager(mgr ctrl.Manager) error {
	if err := mgr.Add(r); err != nil {
		return fmt.Errorf("add the reloader: %w", err)
	}
	everywhere := false
	err := ctrl.NewControllerManagedBy(mgr).
		Named("changepolicy").
		For(&v1alpha1.ChangePolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(controller.Options{NeedLeaderElection: &everywhere}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the changepolicy controller: %w", err)
	}
	return nil
}
