// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/notify"
	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/config"
	"github.com/mainstay-gitops/mainstay/config/v1alpha1"
	"github.com/mainstay-gitops/mainstay/policy"
	"github.com/mainstay-gitops/mainstay/policy/audit"
	"github.com/mainstay-gitops/mainstay/policy/facts"
	"github.com/mainstay-gitops/mainstay/policy/grant"
	"github.com/mainstay-gitops/mainstay/policy/off"
	"github.com/mainstay-gitops/mainstay/policy/ownership"
	"github.com/mainstay-gitops/mainstay/policy/permit"
	"github.com/mainstay-gitops/mainstay/policy/record"
	"github.com/mainstay-gitops/mainstay/policy/reload"
	"github.com/mainstay-gitops/mainstay/policy/suspend"
	"github.com/mainstay-gitops/mainstay/sync/apply"
	"github.com/mainstay-gitops/mainstay/sync/inventory"
	"github.com/mainstay-gitops/mainstay/sync/loop"
	"github.com/mainstay-gitops/mainstay/sync/source"
	"github.com/mainstay-gitops/mainstay/webhook"
	"github.com/mainstay-gitops/mainstay/webhook/cert"
	"github.com/mainstay-gitops/mainstay/webhook/registration"
)

// Run builds the process and runs it until ctx ends or a part fails. Either
// way the requests that were accepted are answered before it returns.
func Run(ctx context.Context, o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	log := newLogger(o.Log, o.Debug)
	ctrl.SetLogger(log)
	ctx = ctrl.LoggerInto(ctx, log)
	a, err := build(ctx, o, log)
	if err != nil {
		return err
	}
	log.Info("starting", "version", o.Version, "cluster", o.Config.ClusterName, "objects", a.index.Len())
	if err := a.run(ctx, o.Config.Webhook.ShutdownDelay.Duration); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// app is what has to be reached after it was built.
type app struct {
	// replica runs what every replica needs to judge; leader what one of them
	// does. They end one after the other.
	replica, leader ctrl.Manager
	server          *server
	index           *ownership.Index
}

// run returns when both managers have ended. Leadership ends with ctx; what
// admission needs lives until the last request is answered.
func (a *app) run(ctx context.Context, delay time.Duration) error {
	leaving, leave := context.WithCancel(ctx)
	defer leave()
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var leadErr, serveErr error
	var managers sync.WaitGroup
	managers.Go(func() {
		defer leave()
		defer end()
		serveErr = a.replica.Start(serving)
	})
	managers.Go(func() {
		defer leave() // a lease that is lost does not drop requests, either
		if a.replica.GetCache().WaitForCacheSync(leaving) {
			leadErr = a.leader.Start(leaving)
		}
	})
	<-leaving.Done()
	ctrl.LoggerFrom(ctx).Info("leaving", "delay", delay.String())
	drainErr := a.server.drain(serving, delay)
	end()
	managers.Wait()
	return errors.Join(serveErr, leadErr, drainErr)
}

// gracePeriod is what the parts of a manager have to end.
const gracePeriod = 4 * time.Second

// build makes every part, left to right: first what both halves judge by, then
// the webhook, then the sync loop. Nothing is served before the inventory and
// the policies in the cluster were read.
func build(ctx context.Context, o Options, log logr.Logger) (*app, error) {
	cfg := o.Config
	restConfig := rest.CopyConfig(o.REST)
	// The API server's priority and fairness limits fairly; a limit of our own
	// would only delay reverts.
	restConfig.QPS = -1
	restConfig.UserAgent = "mainstay/" + o.Version
	conceal := new(concealer)
	restConfig.Wrap(conceal.wrap)
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register types: %w", err)
	}
	grace := gracePeriod
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                  scheme,
		Logger:                  log,
		Metrics:                 metricsserver.Options{BindAddress: cfg.Metrics.BindAddress},
		HealthProbeBindAddress:  cfg.Health.BindAddress,
		GracefulShutdownTimeout: &grace,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the manager: %w", err)
	}
	leader, err := newLeader(mgr, restConfig, cfg, log)
	if err != nil {
		return nil, err
	}
	lead := new(leading)
	kube, err := kubernetes.NewForConfigAndClient(restConfig, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	direct, err := client.New(restConfig, client.Options{Scheme: scheme, Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfigAndClient(restConfig, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	account := "system:serviceaccount:" + cfg.Namespace + ":" + serviceAccount
	// The manager's metrics endpoint serves this one.
	registry := ctrlmetrics.Registry
	if err := registry.Register(buildInfo(o.Version)); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	report := func(err error) { log.Error(err, "trying again") }

	// What both halves judge by.
	key, err := sealingKey(ctx, kube, cfg.Namespace)
	if err != nil {
		return nil, err
	}
	token := key.Token("path of the webhook")
	conceal.word.Store(&token)
	index := ownership.NewIndex()
	loader, err := ownership.NewLoader(ownership.LoaderOptions{Reader: direct, Key: key, Namespace: cfg.Namespace, Index: index})
	if err != nil {
		return nil, err
	}
	engine, err := policy.New(ctx, policy.Options{
		Deadline: cfg.Policies.Deadline.Duration, PersonManagers: cfg.Policies.PersonFieldManagers,
		ClusterName: cfg.ClusterName, ClusterLabels: cfg.ClusterLabels, MaskSecret: key.Mask,
		AwaitObjects: true, DisabledBuiltins: cfg.Policies.DisabledBuiltins, Registerer: registry,
	})
	if err != nil {
		return nil, err
	}
	knowledge, err := facts.New(facts.Options{Client: dynamicClient, Mapper: mgr.GetRESTMapper(), Engine: engine})
	if err != nil {
		return nil, err
	}
	notifier, err := notify.New(notify.Options{
		Config: cfg.Notifications, ClusterName: cfg.ClusterName, Secret: secretIn(kube, cfg.Namespace), Registerer: registry,
		Error: func(err error) { log.Error(err, "a notification was not sent") },
	})
	if err != nil {
		return nil, err
	}
	following, err := newFollower(o.ConfigFile, cfg, notifier.Configure, registry, log.WithName("configuration"))
	if err != nil {
		return nil, err
	}
	recorderOfEvents := telling{mgr.GetEventRecorder("mainstay"), notifier}
	reloader, err := reload.New(reload.Options{
		Client: direct, Loader: engine, Events: recorderOfEvents, Namespace: cfg.Namespace, Leader: lead.now.Load, Key: key,
		Replica: replica(),
	})
	if err != nil {
		return nil, err
	}
	permits, err := permit.New(permit.Options{Client: kube, Namespace: cfg.Namespace, Key: key, Error: report})
	if err != nil {
		return nil, err
	}
	wayOut, err := off.New(off.Options{Client: kube, Namespace: cfg.Namespace, Registerer: registry})
	if err != nil {
		return nil, err
	}
	metadataClient, err := metadata.NewForConfigAndClient(restConfig, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	suspensions, err := suspend.New(suspend.Options{Client: metadataClient, Permits: permits, Max: cfg.Suspension.Max.Duration})
	if err != nil {
		return nil, err
	}
	decisions, err := record.New(record.Options{
		Policies: engine, Replica: replica(), ClusterName: cfg.ClusterName, Mask: key.Mask, Registerer: registry, Error: report,
	})
	if err != nil {
		return nil, err
	}
	recorder, err := audit.New(audit.Options{
		Ledger: o.Ledger, Ring: decisions, Events: newEventWriter(kube, scheme, log), Notifier: notifier, Registerer: registry, ClusterName: cfg.ClusterName, Mask: key.Mask, Error: report,
	})
	if err != nil {
		return nil, err
	}
	grants, err := grant.New(grant.Options{
		Client: kube, Dynamic: dynamicClient, Namespace: cfg.Namespace, Key: key, Engine: engine, Permits: permits, Error: report,
	})
	if err != nil {
		return nil, err
	}
	refusals, err := grant.NewRefusals(grant.RefusalsOptions{
		Client: kube, Namespace: cfg.Namespace, Key: key, Replica: replica(), Error: report,
	})
	if err != nil {
		return nil, err
	}
	uses, err := grant.NewUses(grant.UsesOptions{Client: direct, Events: recorderOfEvents, Error: report})
	if err != nil {
		return nil, err
	}
	keeper, err := grant.NewKeeper(grant.KeeperOptions{
		Client: direct, Store: grants, Refusals: refusals, Permits: permits, Recorder: recorder,
		Notices: durations(cfg.BreakGlass.Notices), Registerer: registry,
	})
	if err != nil {
		return nil, err
	}
	if err := loader.LoadAll(ctx); err != nil {
		return nil, fmt.Errorf("load what is declared: %w", err)
	}
	if err := reloader.LoadAll(ctx); err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}

	// The webhook.
	certificate, err := cert.New(cert.Options{
		Client: kube, Namespace: cfg.Namespace, DNSNames: dnsNames(cfg), IPs: ips(cfg), Registerer: registry,
	})
	if err != nil {
		return nil, err
	}
	if err := certificate.Ensure(ctx); err != nil {
		return nil, err
	}
	registered, err := registration.New(registration.Options{
		Client: kube, Index: index, Bundle: certificate.Bundle, BundleChanged: certificate.Changed,
		Endpoint: endpoint(cfg), Namespace: cfg.Namespace, SyncAccount: account, Token: token,
		Connect: engine.SubResources, ConnectChanged: engine.Changed,
		ScaleFail: cfg.Webhook.ScaleFailurePolicy == config.FailurePolicyFail, TimeoutSeconds: cfg.Webhook.TimeoutSeconds,
		Off: wayOut, Leader: lead.now.Load, Registerer: registry, Error: report,
	})
	if err != nil {
		return nil, err
	}
	namespaces := newNamespaces(mgr.GetCache())
	handler, err := webhook.New(webhook.Options{
		Index: index, Judge: engine, Recorder: recorder, Permits: permits,
		Namespace: cfg.Namespace, SyncAccount: account, Token: token, Off: wayOut, Mask: key.Mask,
		CanGet: mayGet(kube), Pod: podMetadata(direct), NamespaceTerminating: namespaces.terminating, NamespaceMeta: namespaces.metadata,
		Suspensions: suspensions, MaySuspend: maySuspend(kube), CheckPolicies: engine.Check, AccountExists: accountExists(kube),
		BreakGlass: webhook.BreakGlass{
			Grants: grants, Refusals: refusals, Uses: uses, MayApprove: mayApprove(kube),
			MaxDuration: cfg.BreakGlass.MaxDuration.Duration, MaxHold: cfg.BreakGlass.MaxHold.Duration, EmergencyGroups: cfg.BreakGlass.EmergencyGroups,
		},
		Registerer: registry,
		Error:      func(_ context.Context, err error) { log.Error(err, "admission request") },
	})
	if err != nil {
		return nil, err
	}
	tlsConfig := certificate.TLSConfig()
	if cfg.Webhook.ClientCAFile != "" {
		callers, err := newCallers(cfg.Webhook.ClientCAFile, cfg.Webhook.ClientNames, log.WithName("webhook"))
		if err != nil {
			return nil, err
		}
		tlsConfig = callers.required(tlsConfig)
	}
	var served []interface{ Start(context.Context) error }
	if cfg.Decisions.BindAddress != "0" {
		readers, err := reading.New(reading.Options{
			Ring: decisions, Judge: engine, Index: index, Permits: permits.ForObject, Permitted: permits.Find, Grants: grants.Active,
			Suspended: suspensions.State, Live: liveObject(dynamicClient), Who: reading.NewAuthenticator(kube).Who, May: mayDo(kube), Mask: key.Mask, Clock: time.Now,
		})
		if err != nil {
			return nil, err
		}
		served = append(served, newDecisionServer(cfg, readers, certificate.TLSConfig(), kube, certificate, log.WithName("decisions")))
	}
	server := newServer(cfg.Webhook.BindAddress, handler, tlsConfig, log.WithName("webhook"))

	// The sync loop.
	repositories, err := source.New(source.Options{Dir: cfg.Sync.CacheDir, MaxPack: cfg.Sync.MaxFetchBytes, Submodules: cfg.Sync.Submodules})
	if err != nil {
		return nil, err
	}
	raw, err := apply.ClientFor(restConfig, mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	applier, err := apply.New(apply.Options{Client: raw, Registerer: registry})
	if err != nil {
		return nil, err
	}
	store, err := inventory.New(inventory.Options{Client: direct, Key: key, Namespace: cfg.Namespace, Index: index})
	if err != nil {
		return nil, err
	}
	known := func(ctx context.Context) error {
		// A kind that may not be listed must not keep git from being applied:
		// the policies that read it permit nothing until it was.
		listed, cancel := context.WithTimeout(ctx, listTimeout)
		defer cancel()
		if err := knowledge.Synced(listed); err != nil && ctx.Err() == nil {
			log.Error(err, "not all kinds that policies read were listed; policies that read them permit nothing until they are")
		}
		return await(ctx, permits.Synced, wayOut.Synced, suspensions.Synced, grants.Synced)
	}
	syncLoop, err := loop.New(loop.Deps{
		Client: direct, Config: restConfig, HTTPClient: mgr.GetHTTPClient(), Mapper: mgr.GetRESTMapper(),
		Index: index, Inventory: store, Source: repositories, Applier: applier,
		Policies: engine, Judge: engine, Permits: permits, Recorder: recorder,
		Grants: kept{grants, keeper}, Registration: stateOf{registered}, Off: wayOut, Suspended: suspensions, Events: recorderOfEvents, Registerer: registry, Key: key, Await: known,
	}, loop.Options{Namespace: cfg.Namespace, Parallelism: cfg.Sync.Parallelism, TenantFileSources: cfg.Sync.TenantFileSources, AfterOutage: cfg.BreakGlass.AfterOutage.Duration, Labels: cfg.Metrics.LabelNames(), Notices: durations(cfg.BreakGlass.Notices)})
	if err != nil {
		return nil, err
	}

	// Everything that runs.
	for _, part := range append(served, []interface{ Start(context.Context) error }{
		knowledge, permits, wayOut, suspensions, grants, refusals, uses, notifier, following, recorder, decisions, certificate, registered, server,
	}...) {
		if err := mgr.Add(part); err != nil {
			return nil, fmt.Errorf("add %T: %w", part, err)
		}
	}
	if err := errors.Join(reloader.SetupWithManager(mgr), watchInventories(mgr, loader), hearPushes(mgr, cfg, direct, kube, report)); err != nil {
		return nil, err
	}
	if err := errors.Join(leader.Add(lead), leader.Add(offTeller{off: wayOut, recorder: recorder, namespace: cfg.Namespace, notices: durations(cfg.BreakGlass.Notices)}), keeper.SetupWithManager(leader), syncLoop.SetupWithManager(leader)); err != nil {
		return nil, err
	}
	if err := namespaces.watch(ctx); err != nil {
		return nil, err
	}
	err = errors.Join(
		mgr.AddHealthzCheck("alive", func(*http.Request) error { return nil }),
		mgr.AddReadyzCheck("webhook", server.ready),
		mgr.AddReadyzCheck("known", func(*http.Request) error {
			if permits.Synced() && wayOut.Synced() && suspensions.Synced() && grants.Synced() {
				return nil
			}
			return errors.New("permits, suspensions, grants and mainstay-off are not known yet")
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("add checks: %w", err)
	}
	return &app{replica: mgr, leader: leader, server: server, index: index}, nil
}

// kept are the grants as the sync loop needs them.
type kept struct {
	*grant.Store
	*grant.Keeper
}

func durations(list []metav1.Duration) []time.Duration {
	out := make([]time.Duration, len(list))
	for i, d := range list {
		out[i] = d.Duration
	}
	return out
}

// listTimeout is how long the sync loop waits for the objects that policies read.
const listTimeout = 30 * time.Second

// serviceAccount that Mainstay runs as.
const serviceAccount = "mainstay"

// buildInfo tells which version serves.
func buildInfo(version string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mainstay_build_info", Help: "1, with the version as label.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	return info
}

// watchInventories has every replica load inventories as they change.
func watchInventories(mgr ctrl.Manager, loader *ownership.Loader) error {
	everywhere := false
	err := ctrl.NewControllerManagedBy(mgr).
		Named("inventory").
		For(&v1alpha1.Inventory{}, builder.OnlyMetadata).
		WithOptions(controller.Options{NeedLeaderElection: &everywhere}).
		Complete(loader)
	if err != nil {
		return fmt.Errorf("set up the inventory controller: %w", err)
	}
	return nil
}

// stateOf shows the registration to the sync loop, which does not import the
// webhook's packages.
type stateOf struct{ *registration.Registration }

func (s stateOf) State() (mode, message string) {
	state := s.Registration.State()
	return string(state.Mode), state.Message
}

// Sees tells which resources the registration covers.
func (stateOf) Sees(r schema.GroupResource) bool { return registration.Sees(r) }

func endpoint(cfg *config.Config) registration.Endpoint {
	if cfg.Webhook.URL != "" {
		return registration.Endpoint{URL: cfg.Webhook.URL}
	}
	s := cfg.WebhookService()
	return registration.Endpoint{Service: &registration.ServicePort{Namespace: s.Namespace, Name: s.Name, Port: s.Port}}
}

// dnsNames and ips are what the serving certificate has to be good for.
func dnsNames(cfg *config.Config) []string {
	if cfg.Webhook.URL == "" {
		s := cfg.WebhookService()
		return []string{s.Name + "." + s.Namespace + ".svc", s.Name + "." + s.Namespace + ".svc.cluster.local"}
	}
	if host := urlHost(cfg); net.ParseIP(host) == nil {
		return []string{host}
	}
	return nil
}

func ips(cfg *config.Config) []net.IP {
	if ip := net.ParseIP(urlHost(cfg)); ip != nil {
		return []net.IP{ip}
	}
	return nil
}

func urlHost(cfg *config.Config) string {
	u, err := url.Parse(cfg.Webhook.URL)
	if err != nil {
		return "" // Config.Validate has refused it
	}
	return u.Hostname()
}

// await returns when all conditions hold.
func await(ctx context.Context, conditions ...func() bool) error {
	for _, holds := range conditions {
		for !holds() {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}
