// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// flip is what other policies would decide otherwise, of one rule, account and
// kind.
type flip struct {
	// Now is permit or refuse: what was the other then.
	Now     string `json:"now"`
	Rule    string `json:"rule,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Account string `json:"account"`
	Kind    string `json:"kind"`
	Count   int    `json:"count"`
	// Decisions are some of them, and Objects those they are about.
	Decisions []string `json:"decisions"`
	Objects   []string `json:"objects"`
}

// replayed is what came of judging recorded decisions again.
type replayed struct {
	Judged int    `json:"judged"`
	Same   int    `json:"same"`
	Flips  []flip `json:"flips"`
	// Skipped are those that can't be judged here, by the reason.
	Skipped map[string]int `json:"skipped,omitempty"`
}

// maxExamples of a flip are named.
const maxExamples = 5

func newReplay() *cobra.Command {
	var (
		flags          replicas.Flags
		filter         replicas.Filter
		output, record string
	)
	cmd := &cobra.Command{
		Use:   "replay DIR…",
		Short: "Judge recorded decisions by the policies on disk",
		Long: `Judge recorded decisions by the policies on disk, each at its own time and with
what the policies could read of the cluster then, and say which would be others:
newly permitted, newly refused, by rule, account and kind. What only a way out, a
suspension or another source's policy decided is not judged. Tests are not run.

--decisions takes what mainstay decisions export wrote; without it the replicas
are asked. The status is 0 if nothing would be decided otherwise, 1 if something
would, and 2 if that could not be found out.`,
		Example: `  mainstay policy replay policies --decisions policies/testdata/decisions.jsonl
  mainstay policy replay policies --since 24h --sync shop
  mainstay policy replay policies --decisions week.jsonl.gz -o json`,
		Args: needArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if err := checkOutput(output, "json"); err != nil {
				return unclear(err)
			}
			source, err := readFolders(dirs)
			if err != nil {
				return unclear(err)
			}
			q, err := filter.Query(flags.Namespace, time.Now())
			if err != nil {
				return unclear(err)
			}
			q.DryRuns = true
			judge, err := newReplayer(cmd.Context(), source)
			if err != nil {
				return unclear(err)
			}
			if err := decisionsFrom(cmd, record, &flags, q, judge.add); err != nil {
				return unclear(err)
			}
			result := judge.result()
			if err := report(cmd, output, result, result.write); err != nil {
				return err
			}
			if len(result.Flips) > 0 {
				return found(fmt.Errorf("%s would be decided otherwise", count(result.flipped(), "decision")))
			}
			return nil
		},
	}
	folders(cmd)
	flags.Add(cmd.Flags())
	filter.Add(cmd)
	cmd.Flags().StringVar(&record, "decisions", "", "`FILE` that mainstay decisions export wrote, - for the input; it may be compressed with gzip")
	outputFlag(cmd, &output, "json")
	return cmd
}

// decisionsFrom reads recorded decisions from a file, or from the replicas where
// there is none.
func decisionsFrom(cmd *cobra.Command, file string, flags *replicas.Flags, q *reading.Query, each func(context.Context, record.Record) error) error {
	ctx := cmd.Context()
	q.Basis = file == ""
	err := flags.Read(ctx, file, cmd.InOrStdin(), cmd.ErrOrStderr(), q, func(r record.Record) error { return each(ctx, r) })
	if err != nil && file == "" {
		return fmt.Errorf("without --decisions the replicas are asked: %w", err)
	}
	return err
}

// replayer judges recorded decisions by other policies.
type replayer struct {
	engine *policy.Engine
	rules  map[string]bool
	// data is the digest of what the engine knows, and loaded what that is.
	data   string
	loaded [][4]string
	// bases are those that later decisions are the same as.
	bases map[string]*record.Basis
	// said is what the rules said of the last one.
	said  []policy.Answer
	out   replayed
	flips map[string]*flip
}

func newReplayer(ctx context.Context, source policy.Source) (*replayer, error) {
	engine, err := policy.New(ctx, policy.Options{
		Deadline: time.Second,
		// What is to be hidden was when it was recorded.
		MaskSecret: func(value []byte) string { return string(value) },
	})
	if err != nil {
		return nil, err
	}
	r := &replayer{engine: engine, rules: map[string]bool{}, bases: map[string]*record.Basis{}, flips: map[string]*flip{}, out: replayed{Skipped: map[string]int{}}}
	// What the rules say is asked, not whether that is as their tests want it.
	source.Modules = maps.Clone(source.Modules)
	maps.DeleteFunc(source.Modules, func(file, _ string) bool { return strings.HasSuffix(file, "_test.rego") })
	if len(source.Modules) == 0 {
		return r, nil
	}
	loaded, err := engine.Load(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("load the policies: %w", err)
	}
	for _, rule := range loaded.Rules {
		r.rules[rule.Name] = true
	}
	return r, nil
}

func (r *replayer) skip(why string) { r.out.Skipped[why]++ }

// judge is the decision of these policies, or why there is none.
func (r *replayer) judge(ctx context.Context, one *record.Record) (policy.Decision, string, error) {
	if one.Basis != nil {
		r.bases[one.Decision] = one.Basis
	} else if one.SameAs != "" {
		one.Basis = r.bases[one.SameAs]
	}
	switch {
	case one.Class == policy.RuleOff || one.Class == policy.RuleSuspended:
		return policy.Decision{}, "a way out decided", nil
	case one.Class == policy.RuleError:
		return policy.Decision{}, "an error decided", nil
	case one.Basis == nil || len(one.Basis.Input) == 0:
		return policy.Decision{}, "without what it rests on", nil
	}
	if err := r.know(one.Basis); err != nil {
		return policy.Decision{}, "", fmt.Errorf("decision %s: %w", one.Decision, err)
	}
	d, said, err := r.engine.Again(ctx, one.Basis.Input)
	if err != nil {
		return policy.Decision{}, "", fmt.Errorf("decision %s: %w", one.Decision, err)
	}
	r.said = said
	return d, "", nil
}

// know gives the engine what the policies could read then.
func (r *replayer) know(b *record.Basis) error {
	var grants []policy.Grant
	if b.Grant != nil {
		grants = append(grants, *b.Grant)
	}
	r.engine.SetGrants(grants)
	if b.DataDigest == r.data {
		return nil
	}
	for _, o := range r.loaded {
		r.engine.DeleteObject(o[0], o[1], o[2], o[3])
	}
	r.loaded, r.data = nil, b.DataDigest
	if len(b.Data) == 0 {
		return nil
	}
	var data map[string]map[string]map[string]map[string]map[string]any
	if err := json.Unmarshal(b.Data, &data); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	for group, kinds := range data {
		if group == "core" {
			group = ""
		}
		for kind, namespaces := range kinds {
			for namespace, objects := range namespaces {
				for name, object := range objects {
					r.engine.SetObject(group, kind, namespace, name, object)
					r.loaded = append(r.loaded, [4]string{group, kind, namespace, name})
				}
			}
		}
	}
	return nil
}

func (r *replayer) add(ctx context.Context, one record.Record) error {
	d, why, err := r.judge(ctx, &one)
	if err != nil {
		return err
	}
	if why != "" {
		r.skip(why)
		return nil
	}
	then := policy.Permit
	if one.Verdict != string(policy.Permit) {
		then = policy.Refuse
	}
	if d.Verdict != then {
		if why := r.cannotTell(&one); why != "" {
			r.skip(why)
			return nil
		}
	}
	r.out.Judged++
	if d.Verdict == then {
		r.out.Same++
		return nil
	}
	r.flip(&one, d)
	return nil
}

// cannotTell says why another verdict may not be these policies' doing.
func (r *replayer) cannotTell(one *record.Record) string {
	if one.Basis.DataLeftOut {
		return "what the policies could read was too much to be kept"
	}
	if one.Class != policy.RulePolicy {
		return ""
	}
	for rule := range strings.SplitSeq(one.Rule, ", ") {
		if r.rules[rule] {
			return ""
		}
	}
	for _, s := range one.Basis.Sources {
		if strings.HasPrefix(s.Key, "changepolicy/") {
			return "a rule that is not in the folder decided, perhaps one of a ChangePolicy"
		}
	}
	return ""
}

func (r *replayer) flip(one *record.Record, d policy.Decision) {
	account := "drift"
	if one.User != nil {
		account = one.User.Username
	}
	kind := one.Object.Kind
	if one.Object.Group != "" {
		kind += "." + one.Object.Group
	}
	rule, reason := d.Rule, d.Reason
	if d.Verdict == policy.Refuse && d.Rule == "" {
		// What no longer permits it says more than that nothing does.
		rule, reason = one.Rule, "no longer permitted: "+one.Reason
	}
	key := strings.Join([]string{string(d.Verdict), rule, account, kind}, "\x00")
	f := r.flips[key]
	if f == nil {
		f = &flip{Now: string(d.Verdict), Rule: rule, Reason: reason, Account: account, Kind: kind}
		r.flips[key] = f
	}
	f.Count++
	object := one.Object.Name
	if one.Object.Namespace != "" {
		object = one.Object.Namespace + "/" + object
	}
	if len(f.Decisions) < maxExamples {
		f.Decisions = append(f.Decisions, one.Decision)
	}
	if len(f.Objects) < maxExamples && !slices.Contains(f.Objects, object) {
		f.Objects = append(f.Objects, object)
	}
}

func (r *replayer) result() *replayed {
	out := r.out
	out.Flips = []flip{}
	for _, f := range r.flips {
		out.Flips = append(out.Flips, *f)
	}
	slices.SortFunc(out.Flips, func(a, b flip) int {
		return cmp.Or(strings.Compare(a.Now, b.Now), -cmp.Compare(a.Count, b.Count), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Account, b.Account), strings.Compare(a.Kind, b.Kind))
	})
	return &out
}

func (r *replayed) flipped() int {
	n := 0
	for _, f := range r.Flips {
		n += f.Count
	}
	return n
}

func (r *replayed) write(w io.Writer) error {
	if r.Judged == 0 && len(r.Skipped) == 0 {
		return errors.New("there are no decisions to judge")
	}
	fmt.Fprintf(w, "%s judged again, %d the same, %d otherwise.\n", count(r.Judged, "decision"), r.Same, r.flipped())
	for _, why := range slices.Sorted(mapKeys(r.Skipped)) {
		fmt.Fprintf(w, "%d not judged: %s.\n", r.Skipped[why], why)
	}
	for _, now := range []string{"permit", "refuse"} {
		printed := false
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		for _, f := range r.Flips {
			if f.Now != now {
				continue
			}
			if !printed {
				fmt.Fprintf(w, "\n%s\n", map[string]string{"permit": "Newly permitted", "refuse": "Newly refused"}[now])
				printed = true
			}
			fmt.Fprintf(t, "  %d×\t%s\t%s\t%s\t%s\t(%s)\n", f.Count, cmp.Or(f.Rule, "no rule"), f.Account, f.Kind, strings.Join(f.Objects, ", "), strings.Join(f.Decisions, " "))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}
