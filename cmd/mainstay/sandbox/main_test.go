// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
)

// TestMain runs the tests, or, as the child of one, a controller that says of
// the GitSync what the test wants it to.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "stand-in" {
		if err := standIn(os.Args[2], os.Args[4:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// standIn is started as: stand-in BEHAVIOUR controller --config F --kubeconfig F.
func standIn(behaviour string, args []string) error {
	flags := flag.NewFlagSet("controller", flag.ContinueOnError)
	flags.String("config", "", "")
	kubeconfig := flags.String("kubeconfig", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	status := metav1.ConditionTrue
	switch behaviour {
	case "ends":
		return fmt.Errorf("no such flag")
	case "refuses":
		status = metav1.ConditionFalse
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	c, err := newClient(config)
	if err != nil {
		return err
	}
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		sync := &v1alpha1.GitSync{}
		if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: syncName}, sync); err != nil {
			continue
		}
		for _, name := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionEnforcing} {
			meta.SetStatusCondition(&sync.Status.Conditions, metav1.Condition{
				Type: name, Status: status, Reason: "StandIn", Message: "apps/web.yaml:3: no such kind",
			})
		}
		_ = c.Status().Update(ctx, sync)
	}
	return nil
}
