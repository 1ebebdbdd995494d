// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mainstay-gitops/mainstay/config"
)

// followInterval is how often the file is read: the kubelet brings a ConfigMap
// that was changed into it within a minute or so.
const followInterval = 2 * time.Second

// follower has what may change while the process runs taken over from the
// configuration's file. A file that is wrong changes nothing, and says so.
type follower struct {
	file     string
	now      *config.Config
	apply    func(config.Notifications)
	log      logr.Logger
	good     prometheus.Gauge
	interval time.Duration
}

func newFollower(file string, now *config.Config, apply func(config.Notifications), registerer prometheus.Registerer, log logr.Logger) (*follower, error) {
	f := &follower{file: file, now: now, apply: apply, log: log, interval: followInterval, good: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "mainstay_config_last_reload_successful",
		Help: "1 if the configuration's file as it is now is good, else 0: then the last good one counts.",
	})}
	f.good.Set(1)
	if err := registerer.Register(f.good); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return f, nil
}

// NeedLeaderElection tells that every replica follows its file.
func (f *follower) NeedLeaderElection() bool { return false }

// Start follows until ctx ends. What the file held at the start was read by who
// made the process.
func (f *follower) Start(ctx context.Context) error {
	if f.file == "" {
		<-ctx.Done()
		return nil
	}
	last, _ := os.ReadFile(f.file)
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		content, err := os.ReadFile(f.file)
		if err == nil && !bytes.Equal(content, last) {
			last = content
			f.read(content)
		}
	}
}

// read takes over a file that has changed.
func (f *follower) read(content []byte) {
	next, err := config.Parse(content)
	if err != nil {
		f.good.Set(0)
		f.log.Error(err, "the configuration has changed and is wrong; the last good one counts", "file", f.file)
		return
	}
	f.good.Set(1)
	if !reflect.DeepEqual(next.Notifications, f.now.Notifications) {
		f.apply(next.Notifications)
		f.now.Notifications = next.Notifications
		f.log.Info("notifications follow the configuration", "routes", len(next.Notifications.Routes))
	}
	if others := f.changed(next); len(others) > 0 {
		f.log.Info("the configuration has changed; restart Mainstay for these to count", "keys", strings.Join(others, ", "))
	}
}

// changed are the keys that differ from what counts.
func (f *follower) changed(next *config.Config) []string {
	var keys []string
	a, b := reflect.ValueOf(*f.now), reflect.ValueOf(*next)
	for i := range a.NumField() {
		if reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			continue
		}
		key, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		keys = append(keys, key)
	}
	return keys
}
