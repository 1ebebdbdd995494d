// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// sources can't be brought in, each in its way.
func (n *night) sources() {
	for name, spec := range map[string]string{
		"alerts-unreachable": `{source: {url: "https://127.0.0.1:1/x.git", ref: {branch: main}}, interval: 1s, enforcement: {mode: Enforce}}`,
		"alerts-missing":     `{source: {url: "file://` + shared.State.Repository + `", ref: {branch: main}, path: there-is-none}, interval: 1s, enforcement: {mode: Enforce}}`,
		"alerts-unsigned": `{source: {url: "file://` + shared.State.Repository + `", ref: {branch: main}, path: api,
			verify: {mode: Head, secretRef: {name: alerts-signers}}}, interval: 1s, enforcement: {mode: Enforce}}`,
	} {
		create(n.t, "{apiVersion: mainstay.dev/v1alpha1, kind: GitSync, metadata: {name: "+name+", namespace: mainstay-system}, spec: "+spec+"}")
	}
	create(n.t, `{apiVersion: v1, kind: Secret, metadata: {name: alerts-signers, namespace: mainstay-system}, stringData: {allowed_signers: "cy@shop.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzLzzXWLjJ7jTCSRBCFVHUOYaPVOnQ8pGJq6BOqNvOd"}}`)
	kubectl(n.t, "-n", system, "annotate", "gitsync", "alerts-missing", "mainstay.dev/suspend=10m INC-1 an alert is tried")
}

// policies do not load, fail, take too long, or end soon.
func (n *night) policies() {
	shared.Push(n.t, map[string]string{"policies/alerts/broken.rego": "package alerts\n\nexception contains {\n"})
	n.t.Cleanup(func() { shared.Removed(n.t, "policies/alerts") })
	for name, rego := range map[string]string{
		"alerts-fails": "package alerts_failing\n\nboth := 1 if input.namespace == \"alerts\"\n\nboth := 2 if input.operation == \"UPDATE\"\n\n" +
			"# METADATA\n# title: it fails\nexception contains {\"reason\": \"never\", \"paths\": [\"**\"]} if both == 1\n",
		"alerts-slow": "package alerts_slow\n\n# METADATA\n# title: it takes too long\nexception contains {\"reason\": \"never\", \"paths\": [\"**\"]} if {\n" +
			"\tinput.namespace == \"alerts\"\n\tcount([1 | some i in numbers.range(1, 3000); some j in numbers.range(1, 3000); i + j == 0]) == 1\n}\n",
		"alerts-ends": "package alerts_ending\n\n# METADATA\n# title: it ends\nexception contains {\"reason\": \"for a while\", \"paths\": [\"spec.paused\"], \"until\": \"" +
			time.Now().Add(3*time.Hour).UTC().Format(time.RFC3339) + "\"} if input.namespace == \"nowhere\"\n",
	} {
		raw, err := json.Marshal(map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": "ChangePolicy", "metadata": map[string]any{"name": name, "namespace": system},
			"spec": map[string]any{"modules": map[string]any{name + ".rego": rego}},
		})
		world.Must(n.t, err)
		create(n.t, string(raw))
	}
}

func (n *night) refuse(ns string) string {
	n.t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"stringData":{"password":"`+plantedAsked+`"}}`))
	err := n.alice.Patch(n.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "creds"}}, patch)
	if err == nil {
		n.t.Fatal("alice changed the Secret")
	}
	n.outputs.WriteString(err.Error())
	return err.Error()
}

// refuseAnother is a refusal unlike all before.
func (n *night) refuseAnother(ns string) {
	n.t.Helper()
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:"x"}}}`, strings.ToLower(rand.Text())))
	if err := n.alice.Patch(n.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "creds"}}, patch); err == nil {
		n.t.Fatal("alice labelled the Secret")
	}
}

// refusals are those of one account at a Secret; it returns the id of the first.
func (n *night) refusals(ns string) string {
	said := n.refuse(ns)
	id := regexp.MustCompile(`breakglass request (\w+) --for`).FindStringSubmatch(said)
	if id == nil {
		n.t.Fatalf("the refusal names no decision: %s", said)
	}
	for range 25 {
		n.refuse(ns)
	}
	return id[1]
}

// found follows the id of a refusal to everywhere that it has to be.
func (n *night) found(ns, id string) {
	shared.Await(n.t, "the decision is found from anywhere", func() (bool, string) {
		events, _ := shared.Kubectl(n.t, "admin", "", "-n", ns, "get", "events", "-o", "yaml")
		copies, _ := shared.Kubectl(n.t, "admin", "", "-n", system, "get", "events", "-o", "yaml")
		audit, err := os.ReadFile(shared.State.AuditLog())
		world.Must(n.t, err)
		_, log := atPrompt(n.t, "alice", "log", "--id", id)
		in := map[string]bool{
			"ledger":           slices.ContainsFunc(ledger(n.t), func(line string) bool { return strings.Contains(line, `"decision":"`+id+`"`) }),
			"Event":            strings.Contains(events, "decision "+id),
			"its copy":         strings.Contains(copies, "decision "+id),
			"notification":     strings.Contains(n.chat.all(), id),
			"audit annotation": strings.Contains(string(audit), `"held.mainstay.dev/decision":"`+id+`"`),
			"mainstay log":     strings.Contains(log, id) && strings.Contains(log, "alice"),
		}
		return !slices.Contains(slices.Collect(maps.Values(in)), false), fmt.Sprint(in)
	})
}

// grants are one that waits, and an emergency, under which the Secret is changed.
func (n *night) grants(ns string) {
	scope := `"scope":{"namespaces":["` + ns + `"],"operations":["UPDATE"],"names":["creds"]}`
	if out, err := asked(n.t, "alice", "alerts-waits", `"scope":{"namespaces":["nowhere"]}`); err != nil {
		n.t.Fatal(out)
	}
	if out, err := shared.Kubectl(n.t, "bob", fmt.Sprintf(`{"apiVersion":"mainstay.dev/v1alpha1","kind":"BreakGlass","metadata":{"name":"alerts-now","namespace":%q},
		"spec":{"requestedBy":"bob","reason":"INC-1","duration":"10m","emergency":true,%s}}`, system, scope), "create", "-f", "-"); err != nil {
		n.t.Fatal(out)
	}
	n.outputs.WriteString(permitted(n.t, "bob changes the Secret", func() (string, error) {
		return shared.Kubectl(n.t, "bob", "", "-n", ns, "patch", "secret", "creds", "--type=merge", "-p", `{"stringData":{"password":"`+plantedAsked+`2"}}`)
	}))
}

// revoked ends the emergency: what was changed is held, until it is given up.
func (n *night) revoked() {
	if out, err := patched(n.t, "bob", "alerts-now", `{"revoked":true}`); err != nil {
		n.t.Fatal(out)
	}
	n.await(nil, "MainstayAwaitingGit")
	out, _ := bgCommand(n.t, "bob", "patch", "alerts-now")
	n.outputs.WriteString(out)
	if out, status := bgCommand(n.t, "bob", "revert", "alerts-now", "--reason", "the night goes on"); status != 0 {
		n.t.Fatal(out)
	}
}

// ownNamespace has git declare objects in Mainstay's own namespace, where the
// webhook refuses nothing: one is changed again and again by the function that is
// returned, the other one can't be put back.
func (n *night) ownNamespace() func() {
	object := func(name string) string {
		return "{apiVersion: v1, kind: ConfigMap, metadata: {name: alerts-" + name + ", namespace: " + system + "}, data: {key: git}}\n"
	}
	own := follow(n.t, client.ObjectKey{Namespace: system, Name: "alerts-own"}, func(gs *v1alpha1.GitSync) {
		gs.Labels = map[string]string{"team": "night"}
		gs.Spec.Contact = "#night-oncall"
		gs.Spec.Enforcement.Mode = v1alpha1.ModeEnforce
		gs.Spec.DeletionPolicy = "Delete"
	})
	own.push(n.t, "objects.yaml", object("fought")+"---\n"+object("stuck"))
	change := func(name string) error {
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"data":{"key":%q}}`, rand.Text()))
		return shared.Client.Patch(n.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "alerts-" + name}}, patch)
	}
	own.is(n.t, metav1.ConditionTrue, "Applied", "")
	create(n.t, `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: alerts-stuck}, spec: {
		matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [configmaps]}]},
		matchConditions: [{name: it, expression: "object.metadata.name == 'alerts-stuck'"}],
		validations: [{expression: "request.userInfo.username != 'system:serviceaccount:mainstay-system:mainstay'", message: not by git}]}}`)
	create(n.t, `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: alerts-stuck}, spec: {policyName: alerts-stuck, validationActions: [Deny]}}`)
	shared.Await(n.t, "the other policy is in force", func() (bool, string) {
		out, err := shared.Kubectl(n.t, "admin", "", "--as=system:serviceaccount:mainstay-system:mainstay", "-n", system,
			"patch", "configmap", "alerts-stuck", "--dry-run=server", "--type=merge", "-p", `{"data":{"key":"other"}}`)
		return err != nil && strings.Contains(out, "not by git"), out
	})
	world.Must(n.t, change("stuck"))
	return func() {
		for range 3 {
			world.Must(n.t, change("fought"))
			time.Sleep(50 * time.Millisecond) // it takes two for a fight
		}
	}
}

// configurationAltered deletes the webhook configuration again and again.
func (n *night) configurationAltered() {
	for range 3 {
		kubectl(n.t, "delete", "validatingwebhookconfiguration", "mainstay")
		shared.Await(n.t, "it is put back", func() (bool, string) {
			out, err := shared.Kubectl(n.t, "admin", "", "get", "validatingwebhookconfiguration", "mainstay")
			return err == nil, out
		})
	}
}

// shortAuthority gives the replicas an authority that ends within a day.
func (n *night) shortAuthority() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	world.Must(n.t, err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "short"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(12 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	world.Must(n.t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	world.Must(n.t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := new(corev1.Secret)
	name := types.NamespacedName{Namespace: system, Name: "mainstay-webhook-ca"}
	world.Must(n.t, shared.Client.Get(n.t.Context(), name, secret))
	patch, err := json.Marshal(map[string]any{"data": map[string][]byte{
		"tls.crt": certificate, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
		"ca.crt": slices.Concat(certificate, secret.Data["ca.crt"]), // what is served now stays good
	}})
	world.Must(n.t, err)
	world.Must(n.t, shared.Client.Patch(n.t.Context(), secret, client.RawPatch(types.MergePatchType, patch)))
}

// outage kills the controller, changes what then passes, and starts it with an
// address at which nobody answers the API server, and an output that nobody reads.
// It returns what the output held in the end.
func (n *night) outage(ns string) string {
	t := n.t
	shared.Await(t, "the configuration is in force again", func() (bool, string) {
		out := failurePolicies(t)
		return strings.Contains(out, "Fail"), out
	})
	entry := heldURL(n)
	world.Must(t, syscall.Kill(shared.Controller(t).PID(), syscall.SIGKILL))
	scaled := 0
	n.await(func() {
		scaled++
		var calls sync.WaitGroup
		for i := range 8 {
			calls.Go(func() {
				_, _ = shared.Kubectl(t, "admin", "", "-n", ns, "scale", fmt.Sprintf("deployment/many-%d", i), fmt.Sprintf("--replicas=%d", 3+scaled%2))
			})
		}
		calls.Go(func() { _, _ = setImage(t, "alice", ns, "nginx:1.29") })
		calls.Wait()
	}, "MainstayDown", "MainstayUnreachable", "MainstayFailsOpen")
	// Drift of a Secret, of a label and of a value, that nobody judges.
	kubectl(t, "delete", "validatingwebhookconfiguration", "mainstay")
	permitted(t, "without its configuration the Secret can be changed", func() (string, error) {
		return shared.Kubectl(t, "admin", "", "-n", ns, "patch", "secret", "creds", "--type=merge",
			"-p", `{"metadata":{"labels":{"tier":"front"}},"stringData":{"password":"`+plantedAsked+`3"}}`)
	})

	read, write, err := os.Pipe()
	world.Must(t, err)
	t.Cleanup(func() { _ = read.Close() })
	n.unheard(write)
	n.await(nil, "MainstayEnforcementHole", "MainstayNotEnforcing", "MainstayUnattributedDrift")
	shared.Await(t, "the Secret is as git says", func() (bool, string) {
		s := new(corev1.Secret)
		world.Must(t, shared.Client.Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "creds"}, s))
		return string(s.Data["password"]) == plantedInGit && s.Labels["tier"] == "", fmt.Sprint(s.Labels)
	})
	ask := reviewer(n)
	n.await(func() {
		for range 200 {
			ask(entry, []byte("{"))
		}
	}, "MainstayWebhookErrors")
	review := n.review(ns)
	asked := 0
	n.await(func() {
		var calls sync.WaitGroup
		for range 8 {
			asked += 150
			from := asked
			calls.Go(func() {
				for i := range 150 {
					ask(entry, review(1000+from+i))
				}
			})
		}
		calls.Wait()
	}, "MainstayLedgerLoses")
	return n.drained(read)
}

// unheard starts the controller in the way of outage.
func (n *night) unheard(stdout *os.File) {
	t := n.t
	config := readConfig(t)
	config["webhook"].(map[string]any)["url"] = "https://127.0.0.1:1"
	raw, err := yaml.Marshal(config)
	world.Must(t, err)
	file := filepath.Join(t.TempDir(), "config.yaml")
	world.Must(t, os.WriteFile(file, raw, 0o600))
	log, err := os.OpenFile(shared.State.ControllerLog(), os.O_APPEND|os.O_WRONLY, 0o600)
	world.Must(t, err)
	defer log.Close()
	defer stdout.Close()
	cmd := exec.Command(shared.Program, "controller", "--debug", "--config", file, "--kubeconfig", filepath.Join(shared.State.Dir, "controller.kubeconfig"))
	cmd.Stdout, cmd.Stderr = stdout, log
	world.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		shared.RestartIfDown(t)
	})
}

// drained reads what waited in the controller's output, up to the line that says
// what is lost.
func (n *night) drained(read *os.File) string {
	var mu sync.Mutex
	var out bytes.Buffer
	go func() {
		chunk := make([]byte, 64<<10)
		for {
			got, err := read.Read(chunk)
			mu.Lock()
			out.Write(chunk[:got])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	var all string
	shared.Await(n.t, "the ledger says what is lost", func() (bool, string) {
		mu.Lock()
		defer mu.Unlock()
		all = out.String()
		return strings.Contains(all, `"kind":"lost"`), ""
	})
	if !regexp.MustCompile(`"name":"creds".*"path":"data.password".*"unattributed":true`).MatchString(all) {
		n.t.Error("the ledger does not tell of the Secret that was changed while nobody judged")
	}
	return all
}

// heldURL is where the API server sends what it asks about held objects.
func heldURL(n *night) string {
	n.t.Helper()
	configuration := new(admissionregistrationv1.ValidatingWebhookConfiguration)
	world.Must(n.t, shared.Client.Get(n.t.Context(), types.NamespacedName{Name: "mainstay"}, configuration))
	for _, w := range configuration.Webhooks {
		if w.Name == "held.mainstay.dev" {
			return *w.ClientConfig.URL
		}
	}
	n.t.Fatal("there is no entry held")
	return ""
}

// reviewer asks the webhook as the API server does, and does not care for the
// answer.
func reviewer(n *night) func(address string, body []byte) {
	n.t.Helper()
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 8, //nolint:gosec // It is on this machine.
	}}
	n.t.Cleanup(c.CloseIdleConnections)
	return func(address string, body []byte) {
		response, err := c.Post(address, "application/json", bytes.NewReader(body))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
}

// review makes reviews of alice's updates of the Deployment web, each with another
// number of replicas.
func (n *night) review(ns string) func(replicas int) []byte {
	n.t.Helper()
	old := web(n.t, ns)
	old.APIVersion, old.Kind = "apps/v1", "Deployment"
	before, err := json.Marshal(old)
	world.Must(n.t, err)
	kind := metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	resource := metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	return func(replicas int) []byte {
		after := old.DeepCopy()
		number := int32(replicas) //nolint:gosec // It is small.
		after.Spec.Replicas = &number
		object, err := json.Marshal(after)
		if err != nil {
			return nil
		}
		raw, err := json.Marshal(admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
			Request: &admissionv1.AdmissionRequest{
				UID: types.UID(rand.Text()), Kind: kind, RequestKind: &kind, Resource: resource, RequestResource: &resource,
				Namespace: ns, Name: "web", Operation: admissionv1.Update, UserInfo: authenticationv1.UserInfo{Username: "alice", Groups: []string{"developers"}},
				Object: runtime.RawExtension{Raw: object}, OldObject: runtime.RawExtension{Raw: before},
			},
		})
		if err != nil {
			return nil
		}
		return raw
	}
}

// plantedForms are the planted values as they must not be seen anywhere.
func plantedForms() []string {
	var out []string
	for _, planted := range []string{plantedInGit, plantedAsked} {
		// The end of base64 depends on what follows.
		out = append(out, planted, strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(planted)), "=")[:20])
	}
	return out
}
