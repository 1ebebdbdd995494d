// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/controlplane"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/webhook/registration"
)

// The namespaces of the objects that are written with the real registration:
// one whose GitSync refuses controllers' writes, and one that corrects them.
const (
	refusingNamespace   = "with-entries"
	correctingNamespace = "with-correction"
	noteAnnotation      = "shop.example.org/note"
	callsPath           = "/calls"
)

// surface declares the objects of these namespaces.
func surface(index *ownership.Index) error {
	noted := func(namespace, note string) object {
		o := deployment(namespace, "web", 10)
		set(o, object{noteAnnotation: note}, "metadata", "annotations")
		return o
	}
	for namespace, controllers := range map[string]v1alpha1.Controllers{
		refusingNamespace: v1alpha1.ControllersRefuse, correctingNamespace: v1alpha1.ControllersCorrect,
	} {
		sync := head()
		sync.Name, sync.Controllers = namespace, controllers
		e := record(noted(namespace, "a"))
		e.Attempted = content(noted(namespace, "b"))
		if err := index.Replace(sync, []*ownership.Entry{e}); err != nil {
			return err
		}
	}
	return nil
}

// entries measures writes that go through the entries that Mainstay registers,
// and counts what reaches it.
func (b *bench) entries(mainstay *peer) error {
	cluster, err := b.server()
	if err != nil {
		return err
	}
	config := cluster.RESTConfig(controlplane.Admin)
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	operator := rest.CopyConfig(config)
	operator.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:shop:operator", Groups: []string{"system:masters"}}
	asOperator, err := kubernetes.NewForConfig(operator)
	if err != nil {
		return err
	}
	if err := makeNamespace(b.ctx, kube, ownNamespace); err != nil {
		return err
	}
	for _, ns := range []string{refusingNamespace, correctingNamespace} {
		if err := makeNamespace(b.ctx, kube, ns); err != nil {
			return err
		}
		o := deployment(ns, "web", 10)
		set(o, object{noteAnnotation: "a"}, "metadata", "annotations")
		if _, err := kube.AppsV1().Deployments(ns).Patch(b.ctx, "web", types.ApplyPatchType, encode(o),
			metav1.PatchOptions{FieldManager: v1alpha1.FieldManager}); err != nil {
			return err
		}
	}
	stop, err := b.register(kube, mainstay)
	if err != nil {
		return err
	}
	defer stop()
	note := func(i int) string { return string(rune('a' + (i+1)%2)) }
	kinds := []struct {
		what      string
		namespace string
		client    kubernetes.Interface
		patch     func(i int) string
		sub       []string
		times     times
		calls     int
	}{
		{
			what: "pure status write, object that nobody holds", namespace: patchedNamespaces[0], client: kube, sub: []string{"status"},
			patch: func(i int) string { return fmt.Sprintf(`{"status":{"observedGeneration":%d}}`, i) },
		},
		{
			what: "pure status write, held object", namespace: refusingNamespace, client: kube, sub: []string{"status"},
			patch: func(i int) string { return fmt.Sprintf(`{"status":{"observedGeneration":%d}}`, i) },
		},
		{
			what: "status write that changes an annotation as git says", namespace: refusingNamespace, client: kube, sub: []string{"status"},
			patch: func(i int) string {
				return fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, noteAnnotation, note(i))
			},
		},
		{
			what: "controller's write of an undeclared field, permitted", namespace: refusingNamespace, client: asOperator,
			patch: func(i int) string { return fmt.Sprintf(`{"metadata":{"annotations":{"operator":"%d"}}}`, i) },
		},
		{
			what: "controller's write of that and a declared field, corrected", namespace: correctingNamespace, client: asOperator,
			patch: func(i int) string {
				return fmt.Sprintf(`{"metadata":{"annotations":{"operator":"%d"}},"spec":{"replicas":9}}`, i)
			},
		},
	}
	b.say("%d writes of each of %d kinds through the registered entries", b.samples/10, len(kinds))
	const warm = 30
	for i := range b.samples/10 + warm {
		for n := range kinds {
			k := &kinds[(i+n)%len(kinds)]
			before, err := calls(b.ctx, mainstay)
			if err != nil {
				return err
			}
			start := time.Now()
			written, err := k.client.AppsV1().Deployments(k.namespace).Patch(b.ctx, "web", types.MergePatchType, []byte(k.patch(i)), metav1.PatchOptions{}, k.sub...)
			took := time.Since(start)
			if err != nil {
				return fmt.Errorf("%s: %w", k.what, err)
			}
			if k.namespace == correctingNamespace && *written.Spec.Replicas != 2 {
				return fmt.Errorf("%s: not corrected", k.what)
			}
			after, err := calls(b.ctx, mainstay)
			if err != nil {
				return err
			}
			if i >= warm {
				k.times, k.calls = append(k.times, took), k.calls+after-before
			}
		}
	}
	base := kinds[0].times
	for i, k := range kinds {
		line := row{
			Part: "admission", What: k.what,
			Result: fmt.Sprintf("%s; %.1f webhook calls a write", k.times, float64(k.calls)/float64(len(k.times))),
		}
		against, name := base, "nobody holds it"
		if i == len(kinds)-1 {
			against, name = kinds[i-1].times, "permitted"
		}
		if i > 0 {
			line.Peer, line.Ratio = name+" "+against.String(), fmt.Sprintf("p50 %+.2f ms", float64(k.times.p50()-against.p50())/1e6)
		}
		if i == 1 {
			line.Budget, line.Met = "no call", new(k.calls == 0)
		}
		b.report.add(line)
	}
	return nil
}

// register has Mainstay's own configurations written, and waits until the API
// server is seen to heed them.
func (b *bench) register(kube kubernetes.Interface, mainstay *peer) (stop func(), err error) {
	ca, err := os.ReadFile(filepath.Join(b.dir, "tls.crt"))
	if err != nil {
		return nil, err
	}
	base, err := mainstay.base()
	if err != nil {
		return nil, err
	}
	index := ownership.NewIndex()
	if err := surface(index); err != nil {
		return nil, err
	}
	r, err := registration.New(registration.Options{
		Client: kube, Index: index, Bundle: func() []byte { return ca }, BundleChanged: func() <-chan struct{} { return nil },
		Endpoint: registration.Endpoint{URL: base}, Namespace: ownNamespace, SyncAccount: syncAccount, Token: webhookToken,
		Error: func(err error) { b.say("registration: %v", err) },
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Start(ctx); err != nil && ctx.Err() == nil {
			b.say("registration: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
		api, clean := kube.AdmissionregistrationV1(), context.WithoutCancel(b.ctx)
		if err := errors.Join(
			api.ValidatingWebhookConfigurations().Delete(clean, registration.Name, metav1.DeleteOptions{}),
			api.MutatingWebhookConfigurations().Delete(clean, registration.Name, metav1.DeleteOptions{}),
		); err != nil {
			b.say("unregister: %v", err)
		}
	}
	deadline := time.After(30 * time.Second)
	for r.State().Mode != registration.Fail {
		changed := r.Changed()
		if r.State().Mode == registration.Fail {
			break
		}
		select {
		case <-changed:
		case <-deadline:
			stop()
			return nil, fmt.Errorf("the API server does not reach the webhook: %s", r.State().Message)
		}
	}
	// The mutating side is seen to be heeded by itself, when it corrects.
	return stop, nil
}

// base is the URL of a peer without its path.
func (p *peer) base() (string, error) {
	u, err := url.Parse(p.url)
	if err != nil {
		return "", err
	}
	return u.Scheme + "://" + u.Host, nil
}

// calls asks how many reviews a peer has seen.
func calls(ctx context.Context, p *peer) (int, error) {
	base, err := p.base()
	if err != nil {
		return 0, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+callsPath, nil)
	if err != nil {
		return 0, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var n int
	return n, json.NewDecoder(response.Body).Decode(&n)
}
