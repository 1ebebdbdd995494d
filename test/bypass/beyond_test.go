// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// beyond are the ways that no webhook can be asked about.
func beyond() []*row {
	return []*row{
		{
			id:      "3c etcd",
			threat:  "the object written in etcd, past the API server",
			how:     "a held ConfigMap and a held custom resource written and deleted in etcd, with etcd's own keys",
			want:    repaired,
			within:  10 * time.Second,
			because: "the ledger has it as drift, with no one's name",
			objects: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: NS}\ndata: {key: git}\n---\n" + defined(withStatus),
			try: func(a *attempt) {
				store := newStore(a)
				gadgets := "/registry/NS.example.org/gadgets/NS/one"
				a.slipped()
				store.edit(a, gadgets, func(o map[string]any) { o["spec"].(map[string]any)["size"] = 9 })
				a.repaired()
				a.slipped()
				store.put(a, "/registry/configmaps/NS/settings", a.object("configmap settings", func(o map[string]any) { o["data"] = map[string]any{"key": "etcd"} }))
				a.repaired()
				a.slipped()
				store.edit(a, gadgets, func(o map[string]any) {
					metadata := o["metadata"].(map[string]any)
					delete(metadata, "labels") // nothing says any more whose it is
					o["spec"].(map[string]any)["size"] = 9
				})
				a.repaired()
				a.slipped()
				store.delete(a, gadgets)
				a.repaired()
				a.ledger("drift", "one")
			},
		},
		{
			id:      "3a 4 configuration edited",
			threat:  "the webhook configuration edited: opened, narrowed, sent elsewhere",
			how:     "as system:masters, in one request: failurePolicy Ignore, no rules, a namespace and a label selected out, another authority and address, a matchCondition that is never true",
			want:    repaired,
			within:  10 * time.Second,
			because: "every replica watches its configuration",
			alone:   true,
			try: func(a *attempt) {
				live := configuration(a)
				wanted := live.DeepCopy().Webhooks
				for i := range live.Webhooks {
					w := &live.Webhooks[i]
					ignore := admissionregistrationv1.Ignore
					url := "https://127.0.0.1:1/"
					w.FailurePolicy, w.Rules = &ignore, nil
					w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url}
					w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"never": "true"}}
					w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"never": "true"}}
					w.MatchConditions = append(w.MatchConditions, admissionregistrationv1.MatchCondition{Name: "never", Expression: "false"})
				}
				c := a.as("admin", rest.ImpersonationConfig{}).AdmissionregistrationV1().ValidatingWebhookConfigurations()
				a.slipped()
				_, err := c.Update(context.WithoutCancel(a.Context()), live, metav1.UpdateOptions{})
				world.Must(a.T, err)
				shared.Await(a.T, "the configuration is as it was", func() (bool, string) {
					raw, err := json.Marshal(configuration(a).Webhooks)
					world.Must(a.T, err)
					want, err := json.Marshal(wanted)
					world.Must(a.T, err)
					return bytes.Equal(raw, want), string(raw)
				})
				a.repaired()
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
			},
		},
		{
			id:     "3a 4 configuration deleted",
			threat: "the webhook configuration deleted, and the gap used",
			how:    "deleted as system:masters until an edit slips through, which is reverted; after three times in ten minutes restoring slows down to once a minute, and reverting does not",
			want:   repaired,
			within: 10 * time.Second,
			alone:  true,
			try: func(a *attempt) {
				c := a.as("admin", rest.ImpersonationConfig{}).AdmissionregistrationV1().ValidatingWebhookConfigurations()
				alice := a.as("alice", rest.ImpersonationConfig{})
				for slipped := false; !slipped; {
					_ = c.Delete(context.WithoutCancel(a.Context()), "mainstay", metav1.DeleteOptions{}) // it may be gone
					for range 3 {
						if _, err := a.image(alice); err == nil {
							slipped = true
							break
						}
					}
				}
				a.slipped()
				a.repaired()
				// A restart forgets the fight, so that what follows finds a configuration.
				world.Must(a.T, shared.Controller(a.T).Stop(a.Context(), 5*time.Second))
				shared.Restart(a.T)
				shared.Await(a.T, "alice is refused again", func() (bool, string) {
					out, err := a.kubectl("alice", "", "scale deployment/web --replicas=9 --dry-run=server")
					return err != nil && strings.Contains(out, "denied"), out
				})
			},
		},
	}
}

// object is a held object as the API server has it, edited.
func (a *attempt) object(name string, edit func(map[string]any)) []byte {
	a.Helper()
	var o map[string]any
	world.Must(a.T, json.Unmarshal([]byte(a.must("admin", "", in(a.namespace, "get "+name+" -o json --show-managed-fields"))), &o))
	edit(o)
	raw, err := json.Marshal(o)
	world.Must(a.T, err)
	return raw
}

// ledger wants a line about an object that names nobody.
func (a *attempt) ledger(origin, name string) {
	a.Helper()
	shared.Await(a.T, "the ledger says so", func() (bool, string) {
		raw, err := os.ReadFile(shared.State.ControllerLog())
		world.Must(a.T, err)
		for line := range strings.Lines(string(raw)) {
			if strings.Contains(line, `"origin":"`+origin+`"`) && strings.Contains(line, `"namespace":"`+a.namespace+`","name":"`+name+`"`) {
				if strings.Contains(line, `"user":`) {
					a.Errorf("the ledger names somebody: %s", line)
				}
				return true, line
			}
		}
		return false, ""
	})
}

// store is etcd.
type store struct {
	url    string
	client *http.Client
}

func newStore(a *attempt) *store {
	a.Helper()
	keys := filepath.Join(shared.State.Dir, "keys")
	pair, err := tls.LoadX509KeyPair(filepath.Join(keys, "serving.crt"), filepath.Join(keys, "serving.key"))
	world.Must(a.T, err)
	ca, err := os.ReadFile(filepath.Join(keys, "ca.crt"))
	world.Must(a.T, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	raw, err := os.ReadFile(filepath.Join(shared.State.Dir, "state.json"))
	world.Must(a.T, err)
	var state struct {
		Ports struct{ Etcd int } `json:"ports"`
	}
	world.Must(a.T, json.Unmarshal(raw, &state))
	return &store{
		url:    fmt.Sprintf("https://127.0.0.1:%d/v3/kv/", state.Ports.Etcd),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}}},
	}
}

func (s *store) call(a *attempt, what string, body map[string]string) map[string]any {
	a.Helper()
	raw, err := json.Marshal(body)
	world.Must(a.T, err)
	req, err := http.NewRequestWithContext(a.Context(), http.MethodPost, s.url+what, bytes.NewReader(raw))
	world.Must(a.T, err)
	resp, err := s.client.Do(req)
	world.Must(a.T, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	world.Must(a.T, err)
	if resp.StatusCode != http.StatusOK {
		a.Fatalf("etcd: %s: %s", resp.Status, answer)
	}
	var out map[string]any
	world.Must(a.T, json.Unmarshal(answer, &out))
	return out
}

func key(a *attempt, name string) string {
	return base64.StdEncoding.EncodeToString([]byte(in(a.namespace, name)))
}

func (s *store) put(a *attempt, name string, value []byte) {
	a.Helper()
	a.result.tries++
	s.call(a, "put", map[string]string{"key": key(a, name), "value": base64.StdEncoding.EncodeToString(value)})
}

func (s *store) delete(a *attempt, name string) {
	a.Helper()
	a.result.tries++
	s.call(a, "deleterange", map[string]string{"key": key(a, name)})
}

// edit changes a custom resource, which is stored as JSON.
func (s *store) edit(a *attempt, name string, change func(map[string]any)) {
	a.Helper()
	found := s.call(a, "range", map[string]string{"key": key(a, name)})
	kvs, _ := found["kvs"].([]any)
	if len(kvs) != 1 {
		a.Fatalf("etcd has %d of %s", len(kvs), in(a.namespace, name))
	}
	raw, err := base64.StdEncoding.DecodeString(kvs[0].(map[string]any)["value"].(string))
	world.Must(a.T, err)
	var o map[string]any
	world.Must(a.T, json.Unmarshal(raw, &o))
	change(o)
	raw, err = json.Marshal(o)
	world.Must(a.T, err)
	s.put(a, name, raw)
}
