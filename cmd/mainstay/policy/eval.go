// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mainstay-gitops/mainstay/policy"
)

type eval struct {
	output   string
	input    string
	old, new string
	data     []string
	as       string
	groups   []string
	at       string
	origin   string
	all      bool
	kube     kube

	now      time.Time
	progress io.Writer
}

func newEval() *cobra.Command {
	e := new(eval)
	cmd := &cobra.Command{
		Use:   "eval DIR... {--input FILE | --old FILE --new FILE | -- kubectl ...}",
		Short: "Judge one change by policies on disk, and say why",
		Long: `Judge one change by policies on disk, with the built-in ones, and say why: the
verdict, which paths are covered by what, and of each rule its lines with the
values in them and the first that was not true.

The change is one of
  --input FILE            an input document, as mainstay policy capture writes it,
                          or an AdmissionReview; - is standard input
  --old FILE --new FILE   two manifests of one object: what git says, what is asked
  -- kubectl ...          what a command would do: it runs against the cluster, but
                          whatever it would write is caught on the way and judged
                          here. Nothing is written, not even as a dry run.

Objects that policies read through data.cluster come from --data, or with a
command from the cluster. Tests are not run.

The status is 0 if the change is permitted, 1 if it is refused, and 2 if that
could not be found out.`,
		Example: `  mainstay policy eval policies --input policies/night/testdata/refused.json
  mainstay policy eval policies --old web.yaml --new web-new.yaml --as bo --as-group night-shift
  mainstay policy eval policies --as alice -- kubectl -n shop set image deploy/web web=nginx:1.28
  mainstay policy eval policies --old web.yaml --new web-new.yaml --origin drift --at 2026-11-23T23:00:00Z`,
	}
	folders(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e.progress = cmd.ErrOrStderr()
		dirs, command := args, []string(nil)
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			dirs, command = args[:n], args[n:]
		}
		if err := e.check(dirs, command); err != nil {
			return unclear(err)
		}
		judged, err := e.run(cmd.Context(), dirs, command)
		if err != nil {
			return unclear(err)
		}
		if err := report(cmd, e.output, judged, func(w io.Writer) error { e.write(w, judged); return nil }); err != nil {
			return err
		}
		for _, c := range judged.Changes {
			if c.Verdict != string(policy.Permit) {
				return found(fmt.Errorf("refused: %s", c.Object))
			}
		}
		return nil
	}
	p := cmd.Flags()
	outputFlag(cmd, &e.output, "json")
	p.StringVar(&e.input, "input", "", "`FILE` with an input document or an AdmissionReview; - is standard input")
	p.StringVar(&e.old, "old", "", "manifest `FILE` with what git says")
	p.StringVar(&e.new, "new", "", "manifest `FILE` with what is asked for")
	p.StringSliceVar(&e.data, "data", nil, "manifests, or folders of them, that policies see as data.cluster")
	p.StringVar(&e.as, "as", "", "`USER` who asks")
	p.StringArrayVar(&e.groups, "as-group", nil, "`GROUP` that the user is in")
	p.StringVar(&e.at, "at", "", "the `TIME` at which it happens, as 2026-11-23T23:00:00Z; now where it is empty")
	p.StringVar(&e.origin, "origin", "", "request or drift: judge it as something asked for, or as found by the sync loop")
	p.BoolVar(&e.all, "all", false, "show every rule, those that speak of other objects, too")
	e.kube.flags(p)
	_ = cmd.RegisterFlagCompletionFunc("origin", cobra.FixedCompletions([]string{"request", "drift"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (e *eval) check(dirs, command []string) error {
	ways := 0
	for _, given := range []bool{e.input != "", e.old != "" || e.new != "", len(command) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case len(dirs) == 0:
		return errors.New("name the folder with the policies")
	case ways != 1:
		return errors.New("say which change: --input, or --old and --new, or a kubectl command after --")
	case (e.old == "") != (e.new == ""):
		return errors.New("--old and --new go together")
	case e.origin != "" && e.origin != string(policy.OriginRequest) && e.origin != string(policy.OriginDrift):
		return fmt.Errorf("--origin %s is unknown: use request or drift", e.origin)
	}
	e.now = time.Now().UTC().Truncate(time.Second)
	if e.at != "" {
		at, err := time.Parse(time.RFC3339, e.at)
		if err != nil {
			return fmt.Errorf("--at %s is no time such as 2026-11-23T23:00:00Z", e.at)
		}
		e.now = at
	}
	return checkOutput(e.output, "json")
}

// evaluated is what mainstay policy eval -o json writes.
type evaluated struct {
	Changes []judgedChange `json:"changes"`
	// Assumptions are what had to be taken for granted.
	Assumptions []string `json:"assumptions,omitempty"`
}

func (e *eval) run(ctx context.Context, dirs, command []string) (*evaluated, error) {
	engine, program, err := compileFolders(ctx, dirs)
	if err != nil {
		return nil, err
	}
	program.Enforce()
	if err := e.loadData(engine); err != nil {
		return nil, err
	}
	out := new(evaluated)
	var inputs [][]byte
	switch {
	case e.input != "":
		input, assumed, err := e.fixture(engine)
		if err != nil {
			return nil, err
		}
		inputs, out.Assumptions = [][]byte{input}, assumed
	case len(command) > 0:
		if inputs, out.Assumptions, err = e.caught(ctx, engine, program, command); err != nil {
			return nil, err
		}
	default:
		input, assumed, err := e.manifests(engine)
		if err != nil {
			return nil, err
		}
		inputs, out.Assumptions = [][]byte{input}, assumed
	}
	for _, input := range inputs {
		c, err := judge(ctx, engine, program, input)
		if err != nil {
			return nil, err
		}
		out.Changes = append(out.Changes, *c)
	}
	return out, nil
}

// mask stands for a value of a Secret: equal values are equal.
func mask(value []byte) string {
	sum := sha256.Sum256(value)
	return "hash:" + hex.EncodeToString(sum[:8])
}

func readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}
