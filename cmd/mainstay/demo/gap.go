// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// maxGaps is how often the webhook configuration is removed until a change
	// slips through: it comes back within milliseconds.
	maxGaps = 25
	// maxTries is how often the change is tried in one gap.
	maxTries = 10
)

// slipThrough removes the webhook configuration and changes the image before it
// is back, as often as it takes, and waits until both are as they were. It
// speaks to the API server itself: a process takes longer to start than the gap
// lasts.
func (s *shop) slipThrough(ctx context.Context, on *stage) error {
	reverted, err := expect(ctx, s.admin, imageOf("web"), imageForeign, imageAfter)
	if err != nil {
		return err
	}
	for i := range maxGaps {
		g, err := s.openGap(ctx)
		if err != nil {
			return err
		}
		back, err := g.restored.done(on)
		if err != nil {
			return err
		}
		if g.patched.IsZero() {
			continue
		}
		at, err := reverted.done(on)
		if err != nil {
			return err
		}
		g.show(on)
		if i > 0 {
			on.note(fmt.Sprintf("nothing slipped through the first %d times: the configuration was back too soon", i))
		}
		on.measured(at.Sub(g.patched), "from the answer to the administrator's change to the image being %s again", imageAfter)
		on.measured(back.Sub(g.deleted), "from the answer to the removal to the webhook configuration being back")
		return nil
	}
	return fmt.Errorf("expected a change to slip through while the webhook configuration is gone; it was refused in each of %d gaps", maxGaps)
}

// gap is one removal of the webhook configuration.
type gap struct {
	removal, change  time.Duration
	deleted, patched time.Time
	refused          int
	refusal          error
	generation       int64
	restored         *wait
}

func (s *shop) openGap(ctx context.Context) (*gap, error) {
	g := &gap{}
	var err error
	if g.restored, err = expect(ctx, s.admin, theConfiguration(), "present", absent, "present"); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := s.admin.Resource(configurations).Delete(ctx, configuration, metav1.DeleteOptions{}); err != nil {
		return nil, fmt.Errorf("remove the webhook configuration: %w", err)
	}
	g.deleted = time.Now()
	g.removal = g.deleted.Sub(began)
	patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":%q}]}}}}`, imageForeign)
	for range maxTries {
		began := time.Now()
		object, err := s.admin.Resource(deployments).Namespace(shopNamespace).
			Patch(ctx, "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		if err == nil {
			g.patched = time.Now()
			g.change, g.generation = g.patched.Sub(began), object.GetGeneration()
			return g, nil
		}
		if !apierrors.IsForbidden(err) {
			return nil, errors.Join(errors.New("change the image in the gap"), err)
		}
		g.refused, g.refusal = g.refused+1, err
	}
	return g, nil
}

// show shows the two requests as the commands that would send them.
func (g *gap) show(on *stage) {
	on.note("sent on an open connection: the gap is shorter than the start of kubectl")
	remove := "kubectl --context admin delete validatingwebhookconfiguration " + configuration
	on.out.command(remove)
	on.answered(Command{Run: remove, Answer: statusLine(http.StatusOK), Seconds: g.removal.Seconds()})
	change := "kubectl --context admin -n shop set image deployment/web web=" + imageForeign
	on.out.command(change)
	answer := fmt.Sprintf("%s, generation %d", statusLine(http.StatusOK), g.generation)
	if g.refused > 0 {
		answer = fmt.Sprintf("%s (%d times, until the API server had noticed)\n%s", statusLine(http.StatusForbidden), g.refused, answer)
	}
	on.answered(Command{Run: change, Answer: answer, Seconds: g.change.Seconds()})
}

func statusLine(code int) string { return fmt.Sprintf("%d %s", code, http.StatusText(code)) }
