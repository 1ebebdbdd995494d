// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/sandbox/process"
	"github.com/mainstay-gitops/mainstay/test/world"
)

// kills is how often the controller is killed, unless MAINSTAY_KILLS says.
const kills = 4

// TestASyncThatIsKilledAnywhereIsCompleted kills the controller with SIGKILL
// while it brings in a commit: before or after a write of it reaches the API
// server, of which every instruction in between is as good as another, or at any
// time. What the next start makes of it has to be what git says.
func TestASyncThatIsKilledAnywhereIsCompleted(t *testing.T) {
	const ns = "killed"
	times := kills
	if text := os.Getenv("MAINSTAY_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		world.Must(t, err)
		times = n
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("MAINSTAY_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		world.Must(t, err)
		seed = n
	}
	t.Logf("MAINSTAY_SEED=%d MAINSTAY_KILLS=%d", seed, times)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // where to kill is no secret

	w := &tripwire{}
	w.listen(t)
	world.Must(t, shared.Controller(t).Stop(t.Context(), 10*time.Second))
	t.Cleanup(func() { shared.RestartIfDown(t) })
	shared.Push(t, map[string]string{"killed/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}\n"})
	controller := w.start(t)
	shared.Applied(t)

	for i := range times {
		point := 1 + random.IntN(14)
		after := random.IntN(2) == 0
		pause := time.Duration(random.IntN(400)) * time.Millisecond
		byTime := random.IntN(3) == 0
		what := fmt.Sprintf("write %d, before it is sent", point)
		switch {
		case byTime:
			what = "after " + pause.String()
		case after:
			what = fmt.Sprintf("write %d, after it was answered", point)
		}
		t.Logf("kill %d: %s", i+1, what)

		killed := make(chan struct{})
		strike := func() {
			defer close(killed)
			if err := controller.Stop(world.Lasting(t), 0); err != nil {
				t.Error(err)
			}
		}
		if !byTime {
			w.arm(point, after, strike)
		}
		shared.Push(t, round(i))
		if byTime {
			time.AfterFunc(pause, strike)
		}
		select {
		case <-killed:
		case <-time.After(20 * time.Second):
			// The sync was shorter than that.
			w.disarm()
			world.Must(t, controller.Stop(t.Context(), 0))
		}
		controller = w.start(t)
		shared.Applied(t)
		check(t, ns, i)
	}
}

// round is a commit that creates, changes and prunes.
func round(i int) map[string]string {
	cm := func(name, value string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: killed}\ndata: {round: %q}\n", name, value)
	}
	files := map[string]string{"killed/new-" + strconv.Itoa(i) + ".yaml": cm("new-"+strconv.Itoa(i), strconv.Itoa(i))}
	for _, name := range []string{"a", "b", "c", "d"} {
		files["killed/"+name+".yaml"] = cm(name, strconv.Itoa(i))
	}
	if i > 0 {
		files["killed/new-"+strconv.Itoa(i-1)+".yaml"] = ""
	}
	return files
}

// check compares the cluster with the commit, and that it is enforced.
func check(t *testing.T, ns string, i int) {
	t.Helper()
	want := map[string]string{"a": "", "b": "", "c": "", "d": "", "new-" + strconv.Itoa(i): ""}
	shared.Await(t, "the cluster is what git says", func() (bool, string) {
		var list corev1.ConfigMapList
		world.Must(t, shared.Client.List(t.Context(), &list, client.InNamespace(ns), client.HasLabels{"mainstay.dev/sync"}))
		right := len(list.Items) == len(want)
		saw := ""
		for _, cm := range list.Items {
			_, wanted := want[cm.Name]
			right = right && wanted && cm.Data["round"] == strconv.Itoa(i)
			saw += cm.Name + "=" + cm.Data["round"] + " "
		}
		return right, saw
	})
	shared.Await(t, "what is applied is enforced", func() (bool, string) {
		cm := new(corev1.ConfigMap)
		world.Must(t, shared.Client.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "a"}, cm))
		cm.Data["round"] = "theirs"
		err := shared.Client.Update(t.Context(), cm)
		return apierrors.IsForbidden(err), fmt.Sprint(err)
	})
}

// tripwire is a proxy between the controller and the API server that counts the
// controller's writes, and strikes at one of them.
type tripwire struct {
	server     *httptest.Server
	kubeconfig string
	shot       atomic.Pointer[shot]
}

type shot struct {
	left   atomic.Int64
	after  bool
	strike func()
}

func (w *tripwire) arm(point int, after bool, strike func()) {
	s := &shot{after: after, strike: strike}
	s.left.Store(int64(point))
	w.shot.Store(s)
}

func (w *tripwire) disarm() { w.shot.Store(nil) }

// listen starts the proxy and writes the kubeconfig that leads through it.
func (w *tripwire) listen(t *testing.T) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(filepath.Join(shared.State.Dir, "controller.kubeconfig"))
	world.Must(t, err)
	cluster := config.Clusters[config.Contexts[config.CurrentContext].Cluster]
	target, err := url.Parse(cluster.Server)
	world.Must(t, err)
	credentials, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
	world.Must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport, err = rest.TransportFor(credentials)
	world.Must(t, err)
	proxy.FlushInterval = -1 // watches
	proxy.ErrorHandler = func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) }
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serve(proxy, rw, r) }))
	t.Cleanup(func() {
		w.server.CloseClientConnections()
		w.server.Close()
	})
	cluster.Server, cluster.CertificateAuthorityData = w.server.URL, nil
	w.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	world.Must(t, clientcmd.WriteToFile(*config, w.kubeconfig))
}

func (w *tripwire) serve(proxy http.Handler, rw http.ResponseWriter, r *http.Request) {
	s := w.shot.Load()
	if s == nil || !counts(r) || s.left.Add(-1) != 0 {
		proxy.ServeHTTP(rw, r)
		return
	}
	w.disarm()
	if s.after {
		proxy.ServeHTTP(httptest.NewRecorder(), r)
	}
	s.strike()
}

// counts tells whether a request is a write that a sync makes: not the lease,
// Events and questions.
func counts(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return false
	}
	for _, part := range []string{"/leases", "/events", "reviews"} {
		if strings.Contains(r.URL.Path, part) {
			return false
		}
	}
	return true
}

// start runs the controller through the proxy, and returns when it is ready.
func (w *tripwire) start(t *testing.T) *process.Process {
	t.Helper()
	p, err := process.Start(process.Spec{
		Name:    "controller",
		Command: []string{shared.Program, "controller", "--config", filepath.Join(shared.State.Dir, "config.yaml"), "--kubeconfig", w.kubeconfig},
		Log:     shared.State.ControllerLog(),
		Record:  filepath.Join(shared.State.Dir, "run", "controller.json"),
	})
	world.Must(t, err)
	shared.Await(t, "the controller is ready", func() (bool, string) {
		if !p.Running() {
			t.Fatalf("the controller has ended\n%s", shared.Log())
		}
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", shared.State.Ports.Health))
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status
	})
	return p
}
