// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/replicas"
)

// NewCommand returns the command explain.
func NewCommand() *cobra.Command {
	var (
		flags    replicas.Flags
		output   string
		all      bool
		decision bool
	)
	cmd := &cobra.Command{
		Use:     "explain OBJECT|DECISION",
		Aliases: []string{"why"},
		Short:   "Say why an object is as it is, or why a change was permitted or refused",
		Long: `Say why an object is as it is: where git declares it, who owns each field, which
exceptions apply now and until when, and what was decided about it last. An
object is TYPE/NAME, as kubectl has it.

With the id of a decision, as refusals and the ledger have it: what was decided
about which fields and why, by which rule in which file, by which policies, and
whether the policies of now say the same.

You see of it what you may get with kubectl, and decisions if you may get
decisions.mainstay.dev, as with the ClusterRole mainstay-view.`,
		Example: `  mainstay explain deploy/web -n shop
  mainstay why configmap/settings -n shop --all
  mainstay explain 7f3k2ab
  mainstay explain 7f3k2ab -o json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return replicas.Unclear(fmt.Errorf("-o %s is unknown: use json, or leave it out", output))
			}
			what := strings.Join(args, "/")
			c, err := flags.Open(cmd.ErrOrStderr())
			if err != nil {
				return replicas.Unclear(err)
			}
			p := &printer{out: cmd.OutOrStdout(), zone: time.Now().Location(), now: time.Now(), all: all}
			if decision || !strings.Contains(what, "/") {
				if !isID.MatchString(what) {
					return replicas.Unclear(fmt.Errorf("%q is neither an object such as deploy/web nor the id of a decision such as 7f3k2ab", what))
				}
				d, err := c.Decision(cmd.Context(), what)
				if err != nil {
					return replicas.Verdict(err)
				}
				return show(p.out, output, d, func() error { return p.decision(d) })
			}
			q, err := query(cmd.Context(), c, flags.Namespace, what)
			if err != nil {
				return replicas.Verdict(err)
			}
			o, err := c.Object(cmd.Context(), q)
			if err != nil {
				return replicas.Verdict(err)
			}
			if err := show(p.out, output, o, func() error { return p.object(o) }); err != nil {
				return err
			}
			if o.Declared == nil && !o.Live {
				return replicas.Found(fmt.Errorf("there is no %s %s, and git declares none", o.Object.Kind, o.Object.Name))
			}
			return nil
		},
	}
	flags.Add(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or empty for people")
	cmd.Flags().BoolVar(&all, "all", false, "every field that git sets, too")
	cmd.Flags().BoolVar(&decision, "decision", false, "the argument is the id of a decision")
	return cmd
}

var isID = regexp.MustCompile(`^[a-z0-9]{5,16}$`)

func show(out io.Writer, format string, what any, people func() error) error {
	if format != "json" {
		return people()
	}
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(what)
}

// query finds out which object TYPE/NAME is.
func query(_ context.Context, c *replicas.Cluster, namespace, what string) (url.Values, error) {
	kind, name, _ := strings.Cut(what, "/")
	if kind == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q is no object such as deploy/web", what)
	}
	client, err := discovery.NewDiscoveryClientForConfig(c.Config())
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	cached := memory.NewMemCacheClient(client)
	deferred := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	mapper := restmapper.NewShortcutExpander(deferred, cached, func(string) {})
	asked := schema.ParseGroupResource(strings.ToLower(kind)).WithVersion("")
	gvk, err := mapper.KindFor(asked)
	if err != nil {
		if meta.IsNoMatchError(err) {
			return nil, replicas.Found(fmt.Errorf("the cluster has no %s", kind))
		}
		return nil, fmt.Errorf("find out what %s is: %w", kind, err)
	}
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("find out what %s is: %w", kind, err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if namespace == "" {
			namespace = c.Current
		}
		if namespace == "" {
			return nil, errors.New("name the namespace with -n")
		}
	} else {
		namespace = ""
	}
	return url.Values{
		"group": {gvk.Group}, "version": {gvk.Version}, "kind": {gvk.Kind}, "resource": {mapping.Resource.Resource},
		"namespace": {namespace}, "name": {name},
	}, nil
}
