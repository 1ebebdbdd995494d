// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// reviewed is a change of policies in words.
type reviewed struct {
	Base string `json:"base"`
	// Added, Removed and Changed are the rules.
	Added   []said    `json:"added"`
	Removed []said    `json:"removed"`
	Changed []changed `json:"changed"`
	// Wide are those of the new rules that cover everything and have no end.
	Wide []string `json:"wide,omitempty"`
	// NotReached are lines of new and changed rules' files that no test reached.
	NotReached []fileLine `json:"notReached,omitempty"`
	// Replay is what recorded decisions say, where there are some: what flips
	// between the two.
	Replay *replayed `json:"replay,omitempty"`
}

type changed struct {
	Before said `json:"before"`
	After  said `json:"after"`
}

func newReview() *cobra.Command {
	var base, output, file string
	cmd := &cobra.Command{
		Use:   "review --base REV [DIR]",
		Short: "Say in words what a change of policies means",
		Long: `Say in words what a change of policies means, for whoever reviews it: who may
newly do what to which objects until when, and who may no longer; what it would
decide otherwise among recorded decisions; and which lines no test reached.

The words come from the conditions that can be read off the rules. What can't be
is quoted, so that a reviewer reads it: a rule with such a condition may permit
less than its words say, never more.

The status is 0, or 1 if a new or changed exception covers everything or a
delete without an end, or if recorded decisions would be others.`,
		Example: `  mainstay policy review --base origin/main
  mainstay policy review --base origin/main policies --decisions policies/testdata/decisions.jsonl -o markdown`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(output, "markdown", "json"); err != nil {
				return unclear(err)
			}
			if base == "" {
				return unclear(errors.New("name the revision to compare with: --base origin/main"))
			}
			dir := "policies"
			if len(args) == 1 {
				dir = args[0]
			}
			r, err := review(cmd, base, dir, file)
			if err != nil {
				return unclear(err)
			}
			err = report(cmd, output, r, func(w io.Writer) error { return r.write(w, output == "markdown") })
			switch {
			case err != nil:
				return err
			case len(r.Wide) > 0:
				return found(fmt.Errorf("without an end and for everything: %s", strings.Join(r.Wide, ", ")))
			case r.Replay != nil && len(r.Replay.Flips) > 0:
				return found(fmt.Errorf("%s would be decided otherwise", count(r.Replay.flipped(), "recorded decision")))
			}
			return nil
		},
	}
	folders(cmd)
	cmd.Args = needArgs(cobra.MaximumNArgs(1))
	cmd.Flags().StringVar(&base, "base", "", "`REVISION` to compare with")
	cmd.Flags().StringVar(&file, "decisions", "", "`FILE` that mainstay decisions export wrote")
	outputFlag(cmd, &output, "markdown", "json")
	return cmd
}

func review(cmd *cobra.Command, base, dir, file string) (*reviewed, error) {
	ctx := cmd.Context()
	before, err := readRevision(base, dir)
	if err != nil {
		return nil, err
	}
	after, err := readFolders([]string{dir})
	if err != nil {
		if len(before.Modules) == 0 {
			return nil, err
		}
		after = policy.Source{Key: folderKey} // all of them were deleted
	}
	then, err := entriesOf(ctx, before)
	if err != nil {
		return nil, fmt.Errorf("at %s: %w", base, err)
	}
	now, err := entriesOf(ctx, after)
	if err != nil {
		return nil, err
	}
	r := compared(then, now)
	r.Base = base
	if len(after.Modules) > 0 && len(r.Added)+len(r.Changed) > 0 {
		if r.NotReached, err = notReached(ctx, dir, r); err != nil {
			return nil, err
		}
	}
	if file == "" {
		return r, nil
	}
	r.Replay, err = replayBoth(cmd, before, after, file)
	return r, err
}

// readRevision reads the Rego below a folder as it was at a revision of the
// repository that the folder is in.
func readRevision(revision, dir string) (policy.Source, error) {
	whole, err := filepath.Abs(dir)
	if err != nil {
		return policy.Source{}, err
	}
	repository, err := git.PlainOpenWithOptions(filepath.Dir(whole), &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return policy.Source{}, fmt.Errorf("find the repository of %s: %w", dir, err)
	}
	tree, err := repository.Worktree()
	if err != nil {
		return policy.Source{}, fmt.Errorf("find the repository of %s: %w", dir, err)
	}
	root, err := filepath.EvalSymlinks(tree.Filesystem.Root())
	if err != nil {
		return policy.Source{}, err
	}
	if real, err := filepath.EvalSymlinks(whole); err == nil {
		whole = real
	}
	within, err := filepath.Rel(root, whole)
	if err != nil {
		return policy.Source{}, err
	}
	hash, err := repository.ResolveRevision(plumbing.Revision(revision))
	if err != nil {
		return policy.Source{}, fmt.Errorf("find the revision %s: %w", revision, err)
	}
	commit, err := repository.CommitObject(*hash)
	if err != nil {
		return policy.Source{}, fmt.Errorf("read the revision %s: %w", revision, err)
	}
	files, err := commit.Files()
	if err != nil {
		return policy.Source{}, fmt.Errorf("read the revision %s: %w", revision, err)
	}
	prefix := filepath.ToSlash(within) + "/"
	if within == "." {
		prefix = ""
	}
	source := policy.Source{Key: folderKey, Modules: map[string]string{}}
	err = files.ForEach(func(f *object.File) error {
		name, ok := strings.CutPrefix(f.Name, prefix)
		if !ok || !strings.HasSuffix(name, ".rego") || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
			return nil
		}
		text, err := f.Contents()
		if err != nil {
			return err
		}
		source.Modules[filepath.ToSlash(filepath.Join(dir, name))] = text
		return nil
	})
	if err != nil {
		return policy.Source{}, fmt.Errorf("read %s at %s: %w", dir, revision, err)
	}
	return source, nil
}

// compared tells the rules that came, went and changed: a rule is another if its
// text is.
func compared(then, now []policy.Entry) *reviewed {
	r := &reviewed{Added: []said{}, Removed: []said{}, Changed: []changed{}}
	gone := map[string][]policy.Entry{}
	for _, e := range then {
		gone[e.Name] = append(gone[e.Name], e)
	}
	var fresh []policy.Entry
	for _, e := range now {
		same := slices.IndexFunc(gone[e.Name], func(o policy.Entry) bool { return o.Rule.Equal(e.Rule) && o.Title == e.Title })
		if same >= 0 {
			gone[e.Name] = slices.Delete(gone[e.Name], same, same+1)
			continue
		}
		fresh = append(fresh, e)
	}
	for _, e := range fresh {
		words := inWords(e)
		if words.wide() {
			r.Wide = append(r.Wide, fmt.Sprintf("%s (%s:%d)", words.Rule, words.File, words.Line))
		}
		if old := gone[e.Name]; len(old) > 0 {
			r.Changed = append(r.Changed, changed{inWords(old[0]), words})
			gone[e.Name] = old[1:]
			continue
		}
		r.Added = append(r.Added, words)
	}
	for _, name := range slices.Sorted(mapKeys(gone)) {
		for _, e := range gone[name] {
			r.Removed = append(r.Removed, inWords(e))
		}
	}
	return r
}

// notReached are the lines of the files with new or changed rules that no test
// reached.
func notReached(ctx context.Context, dir string, r *reviewed) ([]fileLine, error) {
	result, err := (&tests{coverage: true}).result(ctx, []string{dir})
	if err != nil {
		return nil, err
	}
	touched := map[string]bool{}
	for _, s := range r.Added {
		touched[s.File] = true
	}
	for _, c := range r.Changed {
		touched[c.After.File] = true
	}
	var out []fileLine
	for _, f := range result.Files {
		if touched[f.File] && len(f.NotReached) > 0 {
			out = append(out, f)
		}
	}
	return out, nil
}

// replayBoth judges recorded decisions by both, so that only what the change
// does counts.
func replayBoth(cmd *cobra.Command, before, after policy.Source, file string) (*replayed, error) {
	then, err := newReplayer(cmd.Context(), before)
	if err != nil {
		return nil, err
	}
	now, err := newReplayer(cmd.Context(), after)
	if err != nil {
		return nil, err
	}
	q, err := (&replicas.Filter{DryRuns: true}).Query("", time.Now())
	if err != nil {
		return nil, err
	}
	err = decisionsFrom(cmd, file, nil, q, func(ctx context.Context, one record.Record) error {
		a, why, err := then.judge(ctx, &one)
		if err != nil {
			return err
		}
		if why != "" {
			now.skip(why)
			return nil
		}
		b, _, err := now.judge(ctx, &one)
		if err != nil {
			return err
		}
		now.out.Judged++
		if a.Verdict == b.Verdict {
			now.out.Same++
			return nil
		}
		one.Rule, one.Reason = a.Rule, a.Reason
		now.flip(&one, b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return now.result(), nil
}

func (r *reviewed) write(w io.Writer, markdown bool) error {
	started := false
	head := func(text string) {
		if started {
			fmt.Fprintln(w)
		}
		started = true
		if markdown {
			text = "### " + text + "\n"
		}
		fmt.Fprintln(w, text)
	}
	item := "  "
	if markdown {
		item = "- "
	}
	if len(r.Added)+len(r.Removed)+len(r.Changed) == 0 {
		fmt.Fprintf(w, "No exception and no deny differs from %s.\n", r.Base)
		started = true
	}
	list := func(title string, rules []said) {
		if len(rules) == 0 {
			return
		}
		head(title)
		for _, s := range rules {
			fmt.Fprintf(w, "%s%s\n", item, s.sentence(markdown))
		}
	}
	list("New", r.Added)
	if len(r.Changed) > 0 {
		head("Changed")
		for _, c := range r.Changed {
			fmt.Fprintf(w, "%snow %s\n%s  before: %s\n", item, c.After.sentence(markdown), strings.Repeat(" ", len(item)-2), c.Before.sentence(markdown))
		}
	}
	list("No longer", r.Removed)
	if len(r.Wide) > 0 {
		head("For everything, without an end")
		for _, s := range r.Wide {
			fmt.Fprintf(w, "%s%s\n", item, s)
		}
	}
	if len(r.NotReached) > 0 {
		head("Lines that no test reached")
		for _, f := range r.NotReached {
			for _, lines := range f.NotReached {
				place := fmt.Sprintf("%s%s:%d", item, f.File, lines[0])
				if lines[1] > lines[0] {
					place += fmt.Sprintf("-%d", lines[1])
				}
				fmt.Fprintln(w, place)
			}
		}
	}
	if r.Replay == nil {
		return nil
	}
	head("Recorded decisions")
	if markdown {
		fmt.Fprintln(w, "```")
		defer fmt.Fprintln(w, "```")
	}
	return r.Replay.write(w)
}
