// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fastjson"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// minLimited is how many objects a GitSync has to hold for maxPrune to count: one
// of two is half of them.
const minLimited = 5

// fate is what becomes of an object that leaves git.
type fate struct {
	what fateKind
	// to is the GitSync that it is handed to, as the account by which that writes.
	to types.NamespacedName
	as string
	// why it is let go, for people; empty where that goes without saying.
	why string
	// uid of the live object that is deleted; empty: whatever is there.
	uid types.UID
}

type fateKind int

const (
	pruned fateKind = iota
	released
	handedOver
)

// keepers are the annotations by which an object is let go instead of deleted.
var keepers = []struct{ name, value string }{
	{v1alpha1.PruneAnnotation, "disabled"},
	{"kustomize.toolkit.fluxcd.io/prune", "disabled"},
	{"argocd.argoproj.io/sync-options", "Prune=false"},
	{"client.lifecycle.config.k8s.io/deletion", "detach"},
	{"helm.sh/resource-policy", "keep"},
}

// keeper is the annotation, of one that git or the cluster has, that keeps an
// object from being pruned; empty where none does.
func keeper(objects ...[]byte) string {
	for _, raw := range objects {
		if len(raw) == 0 {
			continue
		}
		for _, k := range keepers {
			value := fastjson.GetString(raw, "metadata", "annotations", k.name)
			for option := range strings.SplitSeq(value, ",") { // as Argo CD has several
				if strings.TrimSpace(option) == k.value {
					return k.name + ": " + k.value
				}
			}
		}
	}
	return ""
}

// systemNamespaces are never deleted.
var systemNamespaces = []string{"default", "kube-system", "kube-public", "kube-node-lease"}

func (l *Loop) systemNamespace(id ownership.ID) bool {
	return id.Group == "" && id.Kind == "Namespace" && (slices.Contains(systemNamespaces, id.Name) || id.Name == l.o.Namespace)
}

// isItself tells that an object is the GitSync of the attempt. A commit that
// drops it does not end the enforcement of everything else; and while it goes
// away, it does not wait for itself.
func (a *attempt) isItself(id ownership.ID) bool {
	return id.GroupKind() == gitSyncKind && id.Namespace == a.sync.Namespace && id.Name == a.sync.Name
}

// decideFates decides what becomes of each object that leaves git, before
// anything is written. More than may be pruned without a word is an error.
func (l *Loop) decideFates(ctx context.Context, a *attempt) error {
	a.fates = map[ownership.ID]fate{}
	var open []ownership.ID
	for _, id := range a.leaving {
		switch e := a.entries[id]; {
		case e.Pruning && e.Attempted == nil && !a.isItself(id):
			a.fates[id] = fate{what: pruned} // it is going
		case e.Released:
			a.fates[id] = fate{what: released}
		default:
			open = append(open, id)
		}
	}
	if len(open) == 0 {
		return nil
	}
	claims, err := l.claims(ctx, a, open)
	if err != nil {
		return &failure{"PruneFailed", err}
	}
	fates, failures := make([]fate, len(open)), make([]error, len(open))
	var group errgroup.Group
	group.SetLimit(l.o.Parallelism)
	for i, id := range open {
		c, claimed := claims[id]
		switch {
		case !claimed:
		case c.doubt != nil:
			a.doubts = append(a.doubts, doubt{id, c})
		case c.observes:
			fates[i] = fate{what: released, why: fmt.Sprintf("GitSync %s declares it now, and only observes", c.by)}
			continue
		default:
			fates[i] = fate{what: handedOver, to: c.by, as: c.as}
			continue
		}
		group.Go(func() error {
			fates[i], failures[i] = l.fate(ctx, a, a.entries[id])
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var problems []error
	for i, id := range open {
		if failures[i] != nil {
			problems = append(problems, objectFailure(a.entries[id], failures[i]))
		}
		a.fates[id] = fates[i]
	}
	if len(problems) > 0 {
		return limited("PruneFailed", problems)
	}
	if a.confirmed {
		return nil
	}
	return l.confirmation(ctx, a, open)
}

// fate of an object that no other GitSync declares.
func (l *Loop) fate(ctx context.Context, a *attempt, e *ownership.Entry) (fate, error) {
	switch {
	case !a.prune:
		return fate{what: released}, nil
	case a.sync.Adopted != "" && !a.ends:
		return fate{what: released, why: "the commit before took existing objects over, so this one deletes none"}, nil
	case a.isItself(e.ID):
		return fate{what: released, why: "it is what brings this repository in: delete it by hand if that is meant"}, nil
	case l.systemNamespace(e.ID):
		return fate{what: released, why: "it belongs to the cluster"}, nil
	}
	live, err := l.Applier.Get(ctx, a.target(e))
	switch {
	case apierrors.IsNotFound(err):
		return fate{what: pruned}, nil
	case err != nil:
		return fate{}, err
	}
	git := e.Current()
	if why := keeper(git.Desired, live); why != "" {
		return fate{what: released, why: why}, nil
	}
	return fate{what: pruned, uid: types.UID(fastjson.GetString(live, "metadata", "uid"))}, nil
}

// confirmation is an error where so much would be pruned that somebody has to
// confirm it.
func (l *Loop) confirmation(ctx context.Context, a *attempt, ids []ownership.ID) error {
	var doomed []ownership.ID
	for _, id := range ids {
		if a.fates[id].what == pruned && a.entries[id].Applied != nil {
			doomed = append(doomed, id)
		}
	}
	if len(doomed) == 0 {
		return nil
	}
	why := a.tooMany(doomed)
	if why == "" {
		why = a.doubtful(doomed)
	}
	if why == "" {
		var err error
		if why, err = l.taken(ctx, a, doomed); err != nil {
			return &failure{"PruneFailed", err}
		}
	}
	if why == "" {
		return nil
	}
	slices.SortFunc(doomed, func(x, y ownership.ID) int { return strings.Compare(x.String(), y.String()) })
	list := make([]string, 0, maxPending+1)
	for i, id := range doomed {
		if i == maxPending {
			list = append(list, fmt.Sprintf("… and %d more", len(doomed)-i))
			break
		}
		list = append(list, id.String())
	}
	return &failure{"PrunePending", fmt.Errorf("%s would delete %d of %d objects, %s:\n%s\n"+
		"if that is meant: kubectl annotate gitsync %s -n %s --overwrite %s=%s",
		a.revision.Name, len(doomed), a.held(), why, strings.Join(list, "\n"),
		a.sync.Name, a.sync.Namespace, v1alpha1.ConfirmAnnotation, a.revision.Commit)}
}

// doubt is that of an object another GitSync may declare now.
type doubt struct {
	id ownership.ID
	claim
}

// doubtful says which of the objects that would be deleted may be on their way
// to another GitSync; empty where none is.
func (a *attempt) doubtful(doomed []ownership.ID) string {
	slices.SortFunc(a.doubts, func(x, y doubt) int { return strings.Compare(x.id.String(), y.id.String()) })
	for _, d := range a.doubts {
		if slices.Contains(doomed, d.id) {
			why, _, _ := strings.Cut(d.doubt.Error(), "\n")
			return fmt.Sprintf("and %s may move to GitSync %s, whose commit names it and can't be brought in (%s); mend that first", d.id, d.by, why)
		}
	}
	return ""
}

// held is the number of objects that were applied.
func (a *attempt) held() int {
	n := 0
	for _, e := range a.before {
		if e.Applied != nil && !e.Released && !e.Pruning {
			n++
		}
	}
	return n
}

// tooMany says why that many may not be pruned without a word; empty where they
// may.
func (a *attempt) tooMany(doomed []ownership.ID) string {
	namespaces, left := 0, 0
	for id, e := range a.before {
		if id.Group != "" || id.Kind != "Namespace" || e.Applied == nil || e.Released || e.Pruning {
			continue
		}
		namespaces++
		if !slices.Contains(doomed, id) {
			left++
		}
	}
	if namespaces > 0 && left == 0 {
		return "every Namespace among them"
	}
	most := intstr.FromString("50%")
	if a.maxPrune != nil {
		most = *a.maxPrune
	}
	total := a.held()
	limit, err := intstr.GetScaledValueFromIntOrPercent(&most, total, false)
	switch {
	case err != nil:
		return fmt.Sprintf("and spec.maxPrune %q can't be read", most.String())
	case total < minLimited && most.Type == intstr.String, len(doomed) <= limit:
		return ""
	}
	return fmt.Sprintf("more than spec.maxPrune (%s)", most.String())
}
