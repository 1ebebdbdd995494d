// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record/util"
	"k8s.io/client-go/tools/reference"
)

// eventTimeout is how long writing one Event may take.
const eventTimeout = 2 * time.Second

// eventWriter has written an Event when it returns, or has given up. The
// manager's recorder leaves that to goroutines, which the end of the process
// cuts off, and makes a second refusal of the same object a number beside the
// first one's note.
type eventWriter struct {
	kube     kubernetes.Interface
	scheme   *runtime.Scheme
	instance string
	log      logr.Logger
}

func newEventWriter(kube kubernetes.Interface, scheme *runtime.Scheme, log logr.Logger) *eventWriter {
	hostname, _ := os.Hostname()
	return &eventWriter{kube: kube, scheme: scheme, instance: "mainstay-" + cmp.Or(hostname, "unknown"), log: log}
}

// Eventf writes an Event.
func (w *eventWriter) Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any) {
	object, err := reference.GetReference(w.scheme, regarding)
	if err != nil {
		w.log.Error(err, "refer to the object of an Event", "reason", reason)
		return
	}
	now := metav1.NowMicro()
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name: util.GenerateEventName(object.Name, now.UnixNano()), Namespace: cmp.Or(object.Namespace, metav1.NamespaceDefault),
		},
		EventTime: now, ReportingController: "mainstay", ReportingInstance: w.instance,
		Type: eventtype, Reason: reason, Action: action, Note: fmt.Sprintf(note, args...), Regarding: *object,
	}
	if related != nil {
		if event.Related, err = reference.GetReference(w.scheme, related); err != nil {
			w.log.Error(err, "refer to the related object of an Event", "reason", reason)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
	defer cancel()
	if _, err := w.kube.EventsV1().Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
		// A courtesy: the ledger has it. Namespaces that are going away take none.
		w.log.V(1).Info("an Event was not written", "why", err.Error(), "reason", reason)
	}
}
