// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
)

const (
	// sayAgain is how often a replica says what it serves although nothing has
	// changed; one that is silent for goneAfter is gone.
	sayAgain  = 5 * time.Minute
	goneAfter = 15 * time.Minute
	// lookInterval is how often errors of judging are looked for.
	lookInterval = 10 * time.Second
)

// NeedLeaderElection tells the manager that every replica says what it serves.
func (r *Reloader) NeedLeaderElection() bool { return false }

// Start says what goes wrong when rules are asked, and from time to time what
// this replica serves, until ctx ends.
func (r *Reloader) Start(ctx context.Context) error {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			all := now.Sub(last) >= sayAgain
			if all {
				last = now
			}
			for _, key := range r.keys() {
				if !all && !r.news(key) {
					continue
				}
				if err := r.say(ctx, key); err != nil && ctx.Err() == nil {
					ctrl.LoggerFrom(ctx).Error(err, "trying again")
				}
			}
		}
	}
}

// served is what this replica serves of one ChangePolicy.
type served struct {
	generation int64
	// said is the trouble that its status tells of.
	said policy.Trouble
}

func (r *Reloader) keys() []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]types.NamespacedName, 0, len(r.serves))
	for key := range r.serves {
		keys = append(keys, key)
	}
	return keys
}

// news tells whether the status does not tell what went wrong, or what no
// longer does.
func (r *Reloader) news(key types.NamespacedName) bool {
	now, _ := r.o.Loader.Trouble(sourceKey(key))
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.serves[key]
	return s != nil && (now.Errors != s.said.Errors || now.Quarantined != s.said.Quarantined)
}

// serve notes which generation this replica serves.
func (r *Reloader) serve(key types.NamespacedName, generation int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serves[key] = &served{generation: generation}
}

func (r *Reloader) generation(key types.NamespacedName) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.serves[key]; s != nil {
		return s.generation
	}
	return 0
}

// say writes this replica's entry of the status. Those of replicas that are
// silent for long go with it.
func (r *Reloader) say(ctx context.Context, key types.NamespacedName) error {
	trouble, _ := r.o.Loader.Trouble(sourceKey(key))
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var cp v1alpha1.ChangePolicy
		if err := r.o.Client.Get(ctx, key, &cp); err != nil {
			return client.IgnoreNotFound(err)
		}
		before := cp.DeepCopy()
		r.enter(&cp, trouble, time.Now())
		return r.o.Client.Status().Patch(ctx, &cp, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	if err != nil {
		return fmt.Errorf("write which generation of change policy %s is served: %w", key, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.serves[key]; s != nil {
		s.said = trouble
	}
	return nil
}

// enter puts this replica's entry into a status.
func (r *Reloader) enter(cp *v1alpha1.ChangePolicy, trouble policy.Trouble, now time.Time) {
	mine := v1alpha1.ReplicaStatus{
		Name: r.o.Replica, Generation: r.generation(client.ObjectKeyFromObject(cp)), Time: metav1.NewTime(now),
		Errors: trouble.Errors, LastError: cut(trouble.Last, 1000),
	}
	replicas := slices.DeleteFunc(cp.Status.Replicas, func(s v1alpha1.ReplicaStatus) bool {
		return s.Name == mine.Name || now.Sub(s.Time.Time) > goneAfter
	})
	replicas = append(replicas, mine)
	cp.Status.Replicas = replicas
	slices.SortFunc(cp.Status.Replicas, func(a, b v1alpha1.ReplicaStatus) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	condition := metav1.Condition{
		Type: v1alpha1.ConditionFailing, Status: metav1.ConditionFalse, Reason: "Judged", ObservedGeneration: cp.Generation,
	}
	switch recent := now.Sub(trouble.At) < goneAfter; {
	case trouble.Quarantined != "":
		condition.Status, condition.Reason = metav1.ConditionTrue, "Quarantined"
		condition.Message = cut(fmt.Sprintf("replica %s: %s; it permits nothing, and its denials refuse; %d errors, the last: %s",
			mine.Name, trouble.Quarantined, trouble.Errors, trouble.Last), 4096)
	case recent && trouble.Errors > 0:
		condition.Status, condition.Reason = metav1.ConditionTrue, "EvaluationFailed"
		condition.Message = cut(fmt.Sprintf("replica %s: %d errors, the last at %s: %s",
			mine.Name, trouble.Errors, trouble.At.UTC().Format(time.RFC3339), trouble.Last), 4096)
	case slices.ContainsFunc(cp.Status.Replicas, func(s v1alpha1.ReplicaStatus) bool { return s.Name != mine.Name && s.Errors > 0 }):
		return // another one's to say
	}
	meta.SetStatusCondition(&cp.Status.Conditions, condition)
}

// sourceKey is under what a ChangePolicy is loaded.
func sourceKey(key types.NamespacedName) string {
	if sync, ok := gitSync(key); ok {
		return policy.GitSyncSource(sync)
	}
	return policy.ChangePolicySource(key)
}
