// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"embed"
	"fmt"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

//go:embed policies
var policies embed.FS

const (
	policyFile = "policies/oncall/oncall.rego"
	testFile   = "policies/oncall/oncall_test.rego"

	imageBefore = "nginx:1.27"
	imageAfter  = "nginx:1.28"
	// imageForeign is what the administrator puts in the gap.
	imageForeign = "nginx:latest"
)

func (s *shop) story() []step {
	return []step{
		{"push", "A push is applied", s.playPush},
		{"edit", "alice edits the image and is refused, and told where git says so", s.playEdit},
		{"autoscaler", "An autoscaler scales what it targets and is permitted", s.playAutoscaler},
		{"scale", "alice scales by hand and is refused", s.playScale},
		{"gap", "An administrator removes the webhook and changes the image in the gap: both are put back", s.playGap},
		{"policy", "An exception is pushed to git with its tests, and takes effect", s.playPolicy},
		{"failing-policy", "A policy whose test fails is not loaded, and the last good ones stay in force", s.playFailingPolicy},
		{"revert", "git revert rolls production back, and leaves alone what was permitted", s.playRevert},
	}
}

func (s *shop) playPush(ctx context.Context, on *stage) error {
	if err := s.edit(ctx, on, "web/deployment.yaml", "image: "+imageBefore, "image: "+imageAfter); err != nil {
		return err
	}
	if err := s.commit(ctx, on, "web: "+imageAfter); err != nil {
		return err
	}
	if err := s.pushAndAwait(ctx, on, imageOf("web"), imageAfter); err != nil {
		return err
	}
	var err error
	if s.release, err = s.head(ctx); err != nil {
		return err
	}
	return s.expectLive(ctx, on, "web", imagePath, imageAfter)
}

func (s *shop) playEdit(ctx context.Context, on *stage) error {
	c, err := s.kubectl(ctx, on, "-n", shopNamespace, "set", "image", "deployment/web", "web="+imageForeign)
	if err != nil {
		return err
	}
	err = c.refused("spec.template.spec.containers[name=web].image", "git: "+imageAfter, "asked: "+imageForeign)
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`change it: +web/deployment\.yaml:\d+ in `).MatchString(c.Answer) {
		return fmt.Errorf("expected the refusal to say file and line; it is: %s", c.Answer)
	}
	on.measured(seconds(c.Seconds), "until kubectl had the refusal")
	return s.expectLive(ctx, on, "web", imagePath, imageAfter)
}

func (s *shop) playAutoscaler(ctx context.Context, on *stage) error {
	if err := s.edit(ctx, on, "api/autoscaler.yaml", "minReplicas: 3", "minReplicas: 4"); err != nil {
		return err
	}
	if err := s.commit(ctx, on, "api: at least four copies"); err != nil {
		return err
	}
	if err := s.pushAndAwait(ctx, on, replicasOf("api"), "4"); err != nil {
		return err
	}
	c, err := s.kubectl(ctx, on, "-n", shopNamespace, "get", "hpa,deployment", "-l", "app=api")
	if err != nil {
		return err
	}
	return c.says()
}

func (s *shop) playScale(ctx context.Context, on *stage) error {
	c, err := s.scale(ctx, on, "web", 6)
	if err != nil {
		return err
	}
	if err := c.refused("spec.replicas", "git: 2", "asked: 6"); err != nil {
		return err
	}
	if c, err = s.scale(ctx, on, "api", 6); err != nil {
		return err
	}
	if err := c.refused("spec.replicas", "asked: 6"); err != nil {
		return err
	}
	on.measured(seconds(c.Seconds), "until kubectl had the refusal")
	return nil
}

func (s *shop) scale(ctx context.Context, on *stage, deployment string, replicas int) (Command, error) {
	return s.kubectl(ctx, on, "-n", shopNamespace, "scale", "deployment/"+deployment, fmt.Sprintf("--replicas=%d", replicas))
}

func (s *shop) playGap(ctx context.Context, on *stage) error {
	if err := s.slipThrough(ctx, on); err != nil {
		return err
	}
	if err := s.expectLive(ctx, on, "web", imagePath, imageAfter); err != nil {
		return err
	}
	c, err := s.kubectl(ctx, on, "-n", shopNamespace, "set", "image", "deployment/web", "web="+imageForeign)
	if err != nil {
		return err
	}
	return c.refused("spec.template.spec.containers[name=web].image")
}

func (s *shop) playPolicy(ctx context.Context, on *stage) error {
	c, err := s.scale(ctx, on, "web", 6)
	if err != nil {
		return err
	}
	if err := c.refused("spec.replicas"); err != nil {
		return err
	}
	for _, file := range []string{policyFile, testFile} {
		content, err := policies.ReadFile(file)
		if err != nil {
			return err
		}
		if err := s.write(file, string(content)); err != nil {
			return err
		}
	}
	if err := s.tail(ctx, on, 9, policyFile); err != nil {
		return err
	}
	if err := s.commit(ctx, on, "policies: on call may run more copies of the pages"); err != nil {
		return err
	}
	began, err := s.push(ctx, on)
	if err != nil {
		return err
	}
	at, err := s.awaitPermitted(ctx, 6)
	if err != nil {
		return err
	}
	on.measured(at.Sub(began), "from the push to the exception being in force")
	if c, err = s.scale(ctx, on, "web", 6); err != nil {
		return err
	}
	if err := c.says("scaled"); err != nil {
		return err
	}
	return s.expectLive(ctx, on, "web", "{.spec.replicas}", "6")
}

// awaitPermitted asks as alice, in dry runs, until she may.
func (s *shop) awaitPermitted(ctx context.Context, replicas int) (time.Time, error) {
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := s.alice.Resource(deployments).Namespace(shopNamespace).
			Patch(ctx, "web", types.MergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, "scale")
		switch {
		case err == nil:
			return time.Now(), nil
		case ctx.Err() == nil && !apierrors.IsForbidden(err):
			return time.Time{}, fmt.Errorf("scale in a dry run: %w", err)
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("expected the change to be permitted; the last answer is: %w", err)
		case <-tick.C:
		}
	}
}

func (s *shop) playFailingPolicy(ctx context.Context, on *stage) error {
	if err := s.edit(ctx, on, policyFile, "change.to <= 8", "change.to <= 80"); err != nil {
		return err
	}
	if err := s.commit(ctx, on, "policies: on call may run many more copies"); err != nil {
		return err
	}
	if err := s.pushAndAwait(ctx, on, conditionOf("PoliciesReady"), "False"); err != nil {
		return err
	}
	c, err := s.kubectl(ctx, on, "-n", mainstayNamespace, "get", "gitsync", "shop",
		"-o", `jsonpath={.status.conditions[?(@.type=="PoliciesReady")].message}`)
	if err != nil {
		return err
	}
	if err := c.says(testFile+":", "last good policies stay in force"); err != nil {
		return err
	}
	if c, err = s.scale(ctx, on, "web", 40); err != nil {
		return err
	}
	if err := c.refused("asked: 40"); err != nil {
		return err
	}
	if c, err = s.scale(ctx, on, "web", 5); err != nil {
		return err
	}
	if err := c.says("scaled"); err != nil {
		return err
	}
	if err := s.gitRun(ctx, on, "revert", "--no-edit", "HEAD"); err != nil {
		return err
	}
	return s.pushAndAwait(ctx, on, conditionOf("PoliciesReady"), "True")
}

func (s *shop) playRevert(ctx context.Context, on *stage) error {
	if err := s.gitRun(ctx, on, "revert", "--no-edit", s.release[:12]); err != nil {
		return err
	}
	head, err := s.head(ctx)
	if err != nil {
		return err
	}
	applied, err := expect(ctx, s.admin, appliedRevision(), head)
	if err != nil {
		return err
	}
	if err := s.pushAndAwait(ctx, on, imageOf("web"), imageBefore); err != nil {
		return err
	}
	if _, err := applied.done(on); err != nil {
		return err
	}
	// Five commits after the autoscaler's word, and two after alice's.
	if err := s.expectLive(ctx, on, "web", imagePath, imageBefore); err != nil {
		return err
	}
	if err := s.expectLive(ctx, on, "web", "{.spec.replicas}", "5"); err != nil {
		return err
	}
	return s.expectLive(ctx, on, "api", "{.spec.replicas}", "4")
}

// pushAndAwait pushes and measures until a field has a value.
func (s *shop) pushAndAwait(ctx context.Context, on *stage, f field, value string) error {
	w, err := expect(ctx, s.admin, f, value)
	if err != nil {
		return err
	}
	began, err := s.push(ctx, on)
	if err != nil {
		return err
	}
	at, err := w.done(on)
	if err != nil {
		return err
	}
	on.measured(at.Sub(began), "from the push to %s being %s", f, value)
	return nil
}

const imagePath = "{.spec.template.spec.containers[0].image}"

// expectLive shows what the cluster says, and holds it to that.
func (s *shop) expectLive(ctx context.Context, on *stage, deployment, path, want string) error {
	c, err := s.kubectl(ctx, on, "-n", shopNamespace, "get", "deployment", deployment, "-o", "jsonpath="+path)
	if err != nil {
		return err
	}
	if c.Exit != 0 || strings.TrimSpace(c.Answer) != want {
		return fmt.Errorf("expected %s of deployment %s to be %s; it is: %s", path, deployment, want, c.Answer)
	}
	return nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
