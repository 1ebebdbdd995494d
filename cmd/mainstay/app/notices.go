// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/notify"
	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/audit"
)

// telling writes Events, and tells the people who want to know of them. What
// requests and drift are decided to be is told by the recorder of decisions.
type telling struct {
	events.EventRecorder
	notifier *notify.Notifier
}

// Eventf writes an Event and tells of it.
func (t telling) Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any) {
	t.EventRecorder.Eventf(regarding, related, eventtype, reason, action, note, args...)
	if n, ok := noticeOf(regarding, related, eventtype, reason, fmt.Sprintf(note, args...)); ok {
		t.notifier.Tell(n)
	}
}

// noticeOf makes a notice of an Event. The use of a grant is none: it is told
// with the change that it permitted.
func noticeOf(regarding, related runtime.Object, eventtype, reason, text string) (notify.Notice, bool) {
	n := notify.Notice{Severity: severityOf(eventtype, reason), Kind: reason, Text: text}
	switch object := regarding.(type) {
	case *v1alpha1.GitSync:
		n.GitSync = types.NamespacedName{Namespace: object.Namespace, Name: object.Name}
	case *v1alpha1.BreakGlass:
		if reason == audit.EventGrantUsed {
			return notify.Notice{}, false
		}
		n.Actor, n.Text = object.Spec.RequestedBy, "breakglass "+object.Namespace+"/"+object.Name+": "+text
	case *v1alpha1.ChangePolicy:
		n.Text = "changepolicy " + object.Namespace + "/" + object.Name + ": " + text
	case *corev1.ObjectReference:
		n.Text = describe(object) + ": " + text
	}
	if ref, ok := related.(*corev1.ObjectReference); ok && ref != nil && ref.Kind == "GitSync" {
		n.GitSync = types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	}
	if owner, ok := regarding.(metav1.Object); ok && n.GitSync.Name == "" {
		for _, ref := range owner.GetOwnerReferences() {
			if ref.Kind == "GitSync" {
				n.GitSync = types.NamespacedName{Namespace: owner.GetNamespace(), Name: ref.Name}
			}
		}
	}
	return n, true
}

func describe(object *corev1.ObjectReference) string {
	if object.Namespace == "" {
		return object.Kind + " " + object.Name
	}
	return object.Kind + " " + object.Namespace + "/" + object.Name
}

// severityOf is what an Event means to people. A warning that repeats what an
// alert says is no more than that; only what takes enforcement away is critical.
func severityOf(eventtype, reason string) config.Severity {
	switch reason {
	case "MainstayOff":
		return config.SeverityCritical
	case "Suspended", "SuspensionEnding", "MainstayOffEnding", "Fight", "GrantEnding":
		return config.SeverityWarning
	}
	if eventtype == corev1.EventTypeWarning {
		return config.SeverityWarning
	}
	return config.SeverityInfo
}

// secretIn reads the Secrets of a namespace.
func secretIn(kube kubernetes.Interface, namespace string) func(context.Context, string) (map[string][]byte, error) {
	return func(ctx context.Context, name string) (map[string][]byte, error) {
		secret, err := kube.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return secret.Data, nil
	}
}
