// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package bypass

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/test/world"
)

// threats are those of the threat model for admission control by Kubernetes'
// security group, with its numbers.
func threats() []*row {
	return []*row{
		{
			id:      "3a 2 large",
			threat:  "a request so large that it is let through unread",
			how:     "an annotation of 200 KB on a ConfigMap, its value replaced by 1 MB; a custom resource grown by 1 MB and by 2.9 MB",
			want:    refused,
			objects: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: small, namespace: NS}\ndata: {a: b}\n---\n" + defined(withStatus),
			try: func(a *attempt) {
				core := a.as("alice", rest.ImpersonationConfig{}).CoreV1().RESTClient()
				send := func(path, before string, size int, after, say string) {
					body := before + strings.Repeat("x", size) + after
					err := core.Patch(types.MergePatchType).AbsPath(in(a.namespace, path)).Body([]byte(body)).Do(context.WithoutCancel(a.Context())).Error()
					a.denied(fmt.Sprintf("%d bytes to %s", size, path), text(err), err, say)
				}
				const small, one = "/api/v1/namespaces/NS/configmaps/small", "/apis/NS.example.org/v1/namespaces/NS/gadgets/one"
				send(small, `{"metadata":{"annotations":{"a":"`, 200<<10, `"}}}`, "metadata.annotations.a")
				send(small, `{"data":{"a":"`, 1000<<10, `"}}`, "data.a")
				send(one, `{"spec":{"more":{"a":"`, 1000<<10, `"}}}`, "spec.more")
				send(one, `{"spec":{"more":{"a":"`, 2900<<10, `"}}}`, "spec.more")
			},
		},
		{
			id:      "3a 2 deep",
			threat:  "JSON so deep that reading it ends the program",
			how:     "a custom resource with a value 2,000 levels deep; a review with 10,000 sent straight to the webhook's port",
			want:    refused,
			objects: defined(withStatus),
			try: func(a *attempt) {
				deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
				out, err := a.kubectl("alice", "", `patch gadgets.v1.NS.example.org one --type=merge -p={"spec":{"more":`+deep(2000)+`}}`)
				a.result.tries++
				if err == nil {
					a.Errorf("permitted: %s", out)
				}
				a.result.tries++
				answer := a.ask("held", fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"UPDATE",
"kind":{"group":"","version":"v1","kind":"ConfigMap"},"resource":{"group":"","version":"v1","resource":"configmaps"},"namespace":"x","name":"x","object":{"metadata":{"name":"x"},"data":%[1]s},"oldObject":{"metadata":{"name":"x"}}}}`, deep(10000)))
				if answer.status == http.StatusOK && !strings.Contains(answer.body, `"allowed"`) {
					a.Errorf("a deep review: %d %s", answer.status, answer.body)
				}
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked}) // it is still there
			},
		},
		{
			id:      "3a 2 flood",
			threat:  "so many large requests that Mainstay runs out of memory, or answers nobody else",
			how:     "200 reviews of 2 MiB at once, of many small values, sent straight to the webhook's port, by who knows the path; meanwhile an edit, and what git says applied by CI, again and again",
			want:    refused,
			because: "memory is bounded, and what would go beyond it waits or is turned away with 503: not one edit was let through, and each was answered in time",
			alone:   true,
			try:     flood,
		},
		{
			id:      "3a 3 new kind",
			threat:  "a kind that a commit brings in, open until the webhook knows of it",
			how:     "a commit with a definition and an object of it, which alice edits again and again from before it is there",
			want:    bounded,
			because: "the rules come before the object: not one edit was let through",
			try: func(a *attempt) {
				var through atomic.Int32
				ctx, stop := context.WithCancel(context.WithoutCancel(a.Context()))
				done := make(chan struct{})
				c := a.as("alice", rest.ImpersonationConfig{}).CoreV1().RESTClient()
				said := ""
				go func() {
					defer close(done)
					for ctx.Err() == nil {
						err := c.Patch(types.MergePatchType).AbsPath("/apis/" + a.namespace + ".example.org/v1/namespaces/" + a.namespace + "/gadgets/one").
							Body([]byte(`{"spec":{"size":9}}`)).Do(ctx).Error()
						if err == nil {
							through.Add(1)
						} else if strings.Contains(err.Error(), "denied the request") {
							said = err.Error()
							return
						}
					}
				}()
				shared.Pushed(a.T, map[string]string{a.namespace + "/gadgets.yaml": in(a.namespace, defined(withStatus))})
				select {
				case <-done:
				case <-time.After(30 * time.Second):
					a.Error("alice was never refused")
				}
				stop()
				<-done
				a.result.tries++
				if n := through.Load(); n > 0 || !strings.Contains(said, "spec.size   git: 1   asked: 9") {
					a.Errorf("%d edits were let through; then: %s", n, said)
				}
			},
		},
		{
			id:      "3a 5 answers",
			threat:  "answers that tell more than who asks may see",
			how:     "edits of a Secret, and of a ConfigMap by someone who may patch and not get it",
			want:    refused,
			because: "a Secret's values are never in the words, another's only for who may get it",
			objects: "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\nstringData: {password: hunter2}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {word: plain-value}\n",
			try: func(a *attempt) {
				a.must("admin", "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: patcher, namespace: NS}\nrules: [{apiGroups: [\"\"], resources: [secrets, configmaps], verbs: [patch]}]\n", "create -f -")
				a.must("admin", "", "create rolebinding patcher --role=patcher --user=NS")
				dana := a.as("admin", rest.ImpersonationConfig{UserName: a.namespace, Groups: []string{"system:authenticated"}})
				alice := a.as("alice", rest.ImpersonationConfig{})
				_, err := alice.CoreV1().Secrets(a.namespace).Patch(context.WithoutCancel(a.Context()), "s", types.MergePatchType, []byte(`{"stringData":{"password":"x"}}`), metav1.PatchOptions{})
				a.denied("a Secret", text(err), err, "data.password")
				_, err2 := dana.CoreV1().ConfigMaps(a.namespace).Patch(context.WithoutCancel(a.Context()), "c", types.MergePatchType, []byte(`{"data":{"word":"x"}}`), metav1.PatchOptions{})
				a.denied("a ConfigMap", text(err2), err2, "data.word")
				for _, said := range []string{text(err), text(err2)} {
					for _, word := range []string{"hunter2", "aHVudGVyMg", "plain-value"} {
						if strings.Contains(said, word) {
							a.Errorf("the answer says %q: %s", word, said)
						}
					}
				}
			},
		},
		{
			id:     "3a 1 9 callers",
			threat: "someone other than the API server who asks the webhook, in anyone's name",
			how: "reviews of an edit and of a restart, which is permitted and leaves a permit, sent straight to the webhook's port, to guessed paths; the Secrets that are permits for it are listed before and after; " +
				"the webhook configuration, where the path stands, read with the role view",
			want: refused,
			because: "the path has a token in it, which stands in the webhook configuration, and in the API server's message to who is refused while Mainstay is down; " +
				"webhook.clientCAFile asks for the API server's certificate, too",
			try: func(a *attempt) {
				review := func(edit func(map[string]any)) string {
					old := a.object("deployment web", func(map[string]any) {})
					next := a.object("deployment web", edit)
					return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"UPDATE","kind":{"group":"apps","version":"v1","kind":"Deployment"},` +
						`"resource":{"group":"apps","version":"v1","resource":"deployments"},"namespace":"` + a.namespace + `","name":"web","userInfo":{"username":"alice","groups":["system:masters"]},"object":` + string(next) + `,"oldObject":` + string(old) + `}}`
				}
				template := func(o map[string]any) map[string]any {
					return o["spec"].(map[string]any)["template"].(map[string]any)
				}
				image := review(func(o map[string]any) {
					template(o)["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)["image"] = "nginx:1.28"
				})
				restart := review(func(o map[string]any) {
					template(o)["metadata"].(map[string]any)["annotations"] = map[string]any{"kubectl.kubernetes.io/restartedAt": now()}
				})
				uid := strings.TrimSpace(a.must("alice", "", "get deployment web -o jsonpath={.metadata.uid}"))
				if kept := permitsOf(a, uid); kept != 0 {
					a.Fatalf("there are %d permits already", kept)
				}
				for _, guess := range []string{"/admit/", "/admit//", "/admit/" + strings.Repeat("0", 32) + "/", "/", "/admit/held/"} {
					for _, body := range []string{image, restart} {
						a.result.tries++
						if answer := a.post(guess+"held", body); answer.status != http.StatusNotFound || strings.Contains(answer.body, "allowed") {
							a.Errorf("%sheld: %d %s", guess, answer.status, answer.body)
						}
					}
				}
				if kept := permitsOf(a, uid); kept != 0 {
					a.Errorf("there are %d permits", kept)
				}
				// The same is permitted where the token is known: it is the token that keeps the others out.
				if answer := a.ask("held", restart); !strings.Contains(answer.body, `"allowed":true`) || permitsOf(a, uid) == 0 {
					a.Errorf("by the configuration's path: %d %s, %d permits", answer.status, answer.body, permitsOf(a, uid))
				}
				a.must("admin", "", "create clusterrolebinding NS-view --clusterrole=view --user=NS-viewer")
				a.Cleanup(func() { a.must("admin", "", "delete clusterrolebinding NS-view") })
				viewer := a.as("admin", rest.ImpersonationConfig{UserName: a.namespace + "-viewer", Groups: []string{"system:authenticated"}})
				a.result.tries++
				if _, err := viewer.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(context.WithoutCancel(a.Context()), "mainstay", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
					a.Errorf("who may view reads the webhook configuration: %v", err)
				}
				a.refused(tries{"set image deployment/web web=nginx:1.28": asked})
			},
		},
		{
			id:      "3a 6 cluster-admin",
			threat:  "a cluster-admin who takes Mainstay's rights away",
			how:     "the ClusterRoleBinding of Mainstay's account deleted; then an edit and a scale",
			want:    refused,
			because: "who holds the API server's keys can do all; what can't be kept out is in the rows on the webhook configuration and etcd",
			alone:   true,
			try: func(a *attempt) {
				binding := a.must("admin", "", "get clusterrolebinding -l app.kubernetes.io/name=mainstay -o yaml")
				a.must("alice", "", "delete clusterrolebinding -l app.kubernetes.io/name=mainstay")
				a.Cleanup(func() { a.must("admin", binding, "apply -f -") })
				a.refused(tries{
					"set image deployment/web web=nginx:1.28": "is held by git",
					"scale deployment/web --replicas=9":       "spec.replicas",
				})
			},
		},
		{
			id:      "3a 7 8 9 in between",
			threat:  "someone who listens, or who answers in Mainstay's place",
			how:     "the webhook's port without TLS, with TLS 1.1, and with another authority",
			want:    bounded,
			because: "the API server trusts the one authority in the configuration, which is restored (3a 4)",
			try: func(a *attempt) {
				port := shared.State.Ports.Webhook
				for name, config := range map[string]*tls.Config{
					"TLS 1.1":           {RootCAs: a.authority(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, //nolint:gosec // it has to be refused
					"another authority": {RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12},
				} {
					a.result.tries++
					c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 5 * time.Second}
					resp, err := c.Post(fmt.Sprintf("https://127.0.0.1:%d/admit/held", port), "application/json", strings.NewReader("{}"))
					if err == nil {
						_ = resp.Body.Close()
						a.Errorf("%s: answered %s", name, resp.Status)
					}
				}
				a.result.tries++
				resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/admit/held", port), "application/json", strings.NewReader("{}")) //nolint:noctx // one request
				if err == nil {
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusBadRequest {
						a.Errorf("without TLS: answered %s", resp.Status)
					}
				}
			},
		},
		{
			id:      "3a 11 exempt namespaces",
			threat:  "a label on a namespace that takes it out",
			how:     "the opt-out labels of other admission systems and of Mainstay's own spelling put on a namespace; then edits",
			want:    refused,
			because: "namespaces are named, never labelled out",
			bare:    true,
			objects: manifest,
			try: func(a *attempt) {
				a.must("alice", "", "label namespace NS admission.gatekeeper.sh/ignore=true control-plane=x openpolicyagent.org/webhook=ignore mainstay.dev/ignore=true kubernetes.azure.com/managedby=aks pod-security.kubernetes.io/enforce=privileged")
				a.must("alice", "", "label namespace NS kubernetes.io/metadata.name=kube-system --overwrite") // the API server puts it back
				a.refused(tries{
					"set image deployment/web web=nginx:1.28": asked,
					"scale deployment/web --replicas=9":       "spec.replicas",
					"delete deployment web":                   removeThere,
				})
				a.refusedFor("alice", strings.ReplaceAll(manifest, "nginx:1.27", "nginx:1.28"), tries{"create -f -": asked})
			},
		},
		{
			id:     "3a 12 every field",
			threat: "a field that nobody listed",
			how:    "an init container, a sidecar, a host path, the host's network, a probe, a toleration, an account, a strategy, each added by patch",
			want:   refused,
			try: func(a *attempt) {
				all := tries{}
				for spec, say := range map[string]string{
					`{"initContainers":[{"name":"x","image":"x"}]}`:                                        "initContainers",
					`{"containers":[{"name":"x","image":"x"}]}`:                                            "containers[name=x]",
					`{"volumes":[{"name":"x","hostPath":{"path":"/"}}]}`:                                   "volumes",
					`{"hostNetwork":true}`:                                                                 "hostNetwork",
					`{"hostPID":true}`:                                                                     "hostPID",
					`{"serviceAccountName":"default"}`:                                                     "serviceAccount",
					`{"tolerations":[{"operator":"Exists"}]}`:                                              "tolerations",
					`{"containers":[{"name":"web","command":["sh"]}]}`:                                     "command",
					`{"containers":[{"name":"web","securityContext":{"privileged":true}}]}`:                "privileged",
					`{"containers":[{"name":"web","livenessProbe":{"exec":{"command":["x"]}}}]}`:           "livenessProbe",
					`{"containers":[{"name":"web","lifecycle":{"postStart":{"exec":{"command":["x"]}}}}]}`: "lifecycle",
					`{"terminationGracePeriodSeconds":0}`:                                                  "terminationGracePeriodSeconds",
				} {
					all[`patch deployment web --type=strategic -p={"spec":{"template":{"spec":`+spec+`}}}`] = say
				}
				all[`patch deployment web --type=merge -p={"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}`] = "strategy"
				all[`patch deployment web --type=merge -p={"spec":{"revisionHistoryLimit":0}}`] = "revisionHistoryLimit"
				a.refused(all)
			},
		},
		{
			id:      "3a 15 16 17 nodes",
			threat:  "a node taken over, and with it a replica of Mainstay",
			how:     "",
			want:    none,
			because: "there are no nodes here; the chart's pod runs as nobody, with a read-only root and no capabilities, which the chart's tests hold",
		},
	}
}

// flood sends more than the webhook's port can take.
func flood(a *attempt) {
	var values strings.Builder
	for i := 0; values.Len() < 2<<20; i++ {
		fmt.Fprintf(&values, `"k%d":"",`, i)
	}
	review := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"UPDATE","kind":{"group":"","version":"v1","kind":"ConfigMap"},` +
		`"resource":{"group":"","version":"v1","resource":"configmaps"},"namespace":"x","name":"x","object":{"metadata":{"name":"x"},"data":{` + values.String() + `"z":""}},"oldObject":{"metadata":{"name":"x"}}}}`
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.authority(), MinVersion: tls.VersionTLS12}}, Timeout: 30 * time.Second}
	url := fmt.Sprintf("https://127.0.0.1:%d%s?timeout=10s", shared.State.Ports.Webhook, a.path("held"))
	before := a.memory()
	codes := make(chan int, 200)
	for range cap(codes) {
		go func() {
			resp, err := c.Post(url, "application/json", strings.NewReader(review))
			if err != nil {
				codes <- 0
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			codes <- resp.StatusCode
		}()
	}
	alice, peak, slowest, applied := a.as("alice", rest.ImpersonationConfig{}), 0.0, time.Duration(0), 0
	got := map[int]int{}
	for n := 0; n < cap(codes); {
		began := time.Now()
		out, err := a.image(alice)
		a.denied("an edit", out, err, "")
		_, err = alice.AppsV1().Deployments(a.namespace).Patch(world.Lasting(a.T), "web", types.StrategicMergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{})
		if err == nil {
			applied++
		}
		slowest, peak = max(slowest, time.Since(began)), max(peak, a.memory())
		for more := true; more && n < cap(codes); {
			select {
			case code := <-codes:
				got[code]++
				n++
			default:
				more = false
			}
		}
	}
	a.Logf("answers %v; memory %.0f MiB, then at most %.0f; %d writes of what git says passed; the slowest pair of requests took %s", got, before/(1<<20), peak/(1<<20), applied, slowest)
	a.result.tries = cap(codes)
	if applied == 0 || peak-before > 512<<20 || slowest > 6*time.Second || got[http.StatusOK] == 0 || got[http.StatusOK]+got[http.StatusServiceUnavailable] != cap(codes) {
		a.Error("that is not bounded")
	}
}

// memory is what Mainstay has asked of the machine for its heap, in bytes.
func (a *attempt) memory() float64 {
	a.Helper()
	resp, err := http.Get(shared.State.MetricsURL())
	world.Must(a.T, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	world.Must(a.T, err)
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "go_memstats_heap_inuse_bytes "); ok {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			world.Must(a.T, err)
			return bytes
		}
	}
	a.Fatal("the metrics say nothing of memory")
	return 0
}

// reply is what the webhook's port answered.
type reply struct {
	status int
	body   string
}

// ask sends a review straight to the webhook's port, to the path that the
// configuration has.
func (a *attempt) ask(entry, review string) reply {
	a.Helper()
	return a.post(a.path(entry), review)
}

// path is where the configuration has an entry, its token included.
func (a *attempt) path(entry string) string {
	a.Helper()
	for _, w := range configuration(a).Webhooks {
		if w.Name == entry+".mainstay.dev" {
			u, err := url.Parse(*w.ClientConfig.URL)
			world.Must(a.T, err)
			return u.Path
		}
	}
	a.Fatalf("the configuration has no entry %s", entry)
	return ""
}

// post sends a review straight to the webhook's port.
func (a *attempt) post(path, review string) reply {
	a.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.authority(), MinVersion: tls.VersionTLS12}}, Timeout: 10 * time.Second}
	url := fmt.Sprintf("https://127.0.0.1:%d%s?timeout=5s", shared.State.Ports.Webhook, path)
	resp, err := c.Post(url, "application/json", bytes.NewReader([]byte(review)))
	world.Must(a.T, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	world.Must(a.T, err)
	return reply{resp.StatusCode, string(body)}
}

// authority is what the webhook's certificate is checked with.
func (a *attempt) authority() *x509.CertPool {
	a.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(configuration(a).Webhooks[0].ClientConfig.CABundle) {
		a.Fatal("the configuration has no authority")
	}
	return pool
}

// configuration is Mainstay's, as it is now.
func configuration(a *attempt) *admissionregistrationv1.ValidatingWebhookConfiguration {
	a.Helper()
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	world.Must(a.T, shared.Client.Get(world.Lasting(a.T), client.ObjectKey{Name: "mainstay"}, c))
	return c
}

// practices are what the Kubernetes documentation asks of admission webhooks.
func practices() []*row {
	return []*row{
		{
			id:      "3b shutting down",
			threat:  "requests let through, or lost, while a replica starts or ends",
			how:     "",
			want:    elsewhere,
			because: "test/e2e kills and stops Mainstay with traffic running",
		},
		{
			id:      "3b lagging replica",
			threat:  "a replica that does not know yet what was declared a moment ago",
			how:     "",
			want:    elsewhere,
			because: "webhook's own tests: a fitting label that the index does not know is answered with 409, catching up",
		},
		{
			id:      "3b fights",
			threat:  "two writers that undo each other for ever",
			how:     "",
			want:    elsewhere,
			because: "sync/loop's own tests: the reverts slow down, and both are named",
		},
	}
}
