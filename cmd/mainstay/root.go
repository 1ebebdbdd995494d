// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/adopt"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/app"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/breakglass"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/decisions"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/demo"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/diff"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/explain"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/log"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/operate"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/render"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/report"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/status"
	"github.com/mainstay-gitops/mainstay/config"
)

func newRoot() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "mainstay",
		Short:         "Git stays the only path to production",
		Long:          "Mainstay applies what git says, refuses manual changes to it, and reverts what slips through.",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if cmd.Name() != "controller" {
				// The libraries' log is for operators, not for people at a prompt.
				ctrl.SetLogger(logr.Discard())
			}
		},
	}
	cmd.AddCommand(newController(), newConfig(), newVersion(), adopt.NewAdopt(), adopt.NewRelease(), breakglass.NewCommand(), sandbox.NewCommand(), demo.NewCommand(), policy.NewCommand(), render.NewCommand())
	cmd.AddCommand(explain.NewCommand(), log.NewCommand(), decisions.NewCommand(), report.NewCommand())
	cmd.AddCommand(status.NewCommand(), diff.NewCommand(), operate.NewSync(), operate.NewSuspend(), operate.NewResume())
	return cmd
}

func newController() *cobra.Command {
	var configFile, kubeconfig string
	var debug bool
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run the webhook and the sync loop",
		Long: `Run the webhook and the sync loop until SIGTERM.

In a cluster the Pod's service account is used; elsewhere --kubeconfig. The
ledger of decisions goes to stdout, the log to stderr, one JSON line each.`,
		Example: `  mainstay controller --config /etc/mainstay/config.yaml
  mainstay controller --config config.yaml --kubeconfig controller.kubeconfig`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(configFile)
			if err != nil {
				return err
			}
			restConfig, err := clusterConfig(kubeconfig)
			if err != nil {
				return err
			}
			return app.Run(cmd.Context(), app.Options{
				Config: cfg, ConfigFile: configFile, REST: restConfig, Version: version, Ledger: os.Stdout, Log: os.Stderr, Debug: debug,
			})
		},
	}
	cmd.Flags().StringVar(&configFile, "config", "/etc/mainstay/config.yaml", "configuration `FILE`")
	cmd.Flags().BoolVar(&debug, "debug", false, "log what is done in detail, too")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; the Pod's service account where it is empty")
	return cmd
}

func clusterConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the cluster: %w: outside a cluster, give --kubeconfig", err)
		}
		return c, nil
	}
	c, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	return c, nil
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Work with the operator's configuration", Args: cobra.NoArgs}
	cmd.AddCommand(&cobra.Command{
		Use:     "check FILE",
		Short:   "Check a configuration file",
		Example: "  mainstay config check config.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := config.Load(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), args[0]+": ok")
			return err
		},
	})
	return cmd
}

func newVersion() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  mainstay version\n  mainstay version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch output {
			case "":
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "mainstay %s %s\n", version, runtime.Version())
				return err
			case "json":
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"version": version, "go": runtime.Version()})
			default:
				return fmt.Errorf("-o %s is unknown: use json", output)
			}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: json")
	return cmd
}
