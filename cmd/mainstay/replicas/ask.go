// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/mainstay-gitops/mainstay/cmd/mainstay/reading"
	"github.com/mainstay-gitops/mainstay/policy/record"
)

// maxLine is more than any record has.
const maxLine = 32 << 20

// Decisions asks all replicas and calls each with what they recorded, the oldest
// first; those to come, where the query follows, as they come. It ends at the
// first error of each.
func (c *Cluster) Decisions(ctx context.Context, q *reading.Query, each func(record.Record) error) error {
	all, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer closeAll(all)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if q.Follow {
		return c.follow(ctx, all, q, each)
	}
	lists := make([][]record.Record, len(all))
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i, r := range all {
		group.Go(func() {
			errs[i] = r.stream(ctx, q, func(one record.Record) error { lists[i] = append(lists[i], one); return nil })
		})
	}
	group.Wait()
	if err := c.some(all, errs); err != nil {
		return err
	}
	records := slices.Concat(lists...)
	slices.SortStableFunc(records, func(a, b record.Record) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Decision, b.Decision))
	})
	for _, one := range records {
		if err := each(one); err != nil {
			return err
		}
	}
	return nil
}

// follow hands on what comes, from whichever replica.
func (c *Cluster) follow(ctx context.Context, all []*replica, q *reading.Query, each func(record.Record) error) error {
	var mu sync.Mutex
	errs := make([]error, len(all))
	var group sync.WaitGroup
	for i, r := range all {
		group.Go(func() {
			errs[i] = r.stream(ctx, q, func(one record.Record) error {
				mu.Lock()
				defer mu.Unlock()
				return each(one)
			})
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // whoever followed has seen enough
	}
	return c.some(all, errs)
}

// some is an error where no replica has answered; of the others it is said.
func (c *Cluster) some(all []*replica, errs []error) error {
	var failed []error
	for i, err := range errs {
		if err != nil {
			if IsAnswer(err) {
				return err
			}
			failed = append(failed, fmt.Errorf("replica %s: %w", all[i].name, err))
		}
	}
	if len(failed) == len(all) {
		return errors.Join(failed...)
	}
	for _, err := range failed {
		fmt.Fprintln(c.progress, "incomplete:", err)
	}
	return nil
}

// Decision asks all replicas about one decision.
func (c *Cluster) Decision(ctx context.Context, id string) (*reading.Explained, error) {
	all, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAll(all)
	errs := make([]error, len(all))
	for i, r := range all {
		out := new(reading.Explained)
		if errs[i] = r.get(ctx, "/v1/decisions/"+url.PathEscape(id), out); errs[i] == nil {
			return out, nil
		}
	}
	if err := c.some(all, errs); err != nil {
		if r, ok := errors.AsType[*Refused](err); ok && r.Code == http.StatusNotFound {
			return nil, refused(r.Code, fmt.Sprintf("no replica knows decision %s (any more): they keep the last 10,000 for 24 hours, the ledger has the line", id))
		}
		return nil, err
	}
	return nil, errors.New("no replica has answered")
}

// Object asks what Mainstay knows of an object.
func (c *Cluster) Object(ctx context.Context, q url.Values) (*reading.Object, error) {
	all, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAll(all)
	var best *reading.Object
	errs := make([]error, len(all))
	for i, r := range all {
		out := new(reading.Object)
		if errs[i] = r.get(ctx, "/v1/object?"+q.Encode(), out); errs[i] != nil {
			continue
		}
		if best == nil {
			best = out
			continue
		}
		// All know the same of the object; each has its own decisions.
		best.Decisions = append(best.Decisions, out.Decisions...)
	}
	if err := c.some(all, errs); err != nil {
		return nil, err
	}
	slices.SortStableFunc(best.Decisions, func(a, b record.Record) int { return b.Time.Compare(a.Time) })
	best.Decisions = best.Decisions[:min(len(best.Decisions), 10)]
	return best, nil
}

func closeAll(all []*replica) {
	for _, r := range all {
		r.close()
	}
}

func (r *replica) get(ctx context.Context, path string, into any) error {
	response, err := r.send(ctx, path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxLine)).Decode(into); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// send returns what is no error.
func (r *replica) send(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(r.base, "/")+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	var failure reading.Failure
	body, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if json.Unmarshal(body, &failure) != nil || failure.Message == "" {
		failure.Message = response.Status
	}
	return nil, refused(response.StatusCode, failure.Message)
}

func (r *replica) stream(ctx context.Context, q *reading.Query, each func(record.Record) error) error {
	response, err := r.send(ctx, "/v1/decisions?"+q.Values().Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return Lines(response.Body, each)
}

// Lines reads records or lines of the ledger, one JSON document a line. Empty
// lines are skipped; what else is no line of the ledger is an error with its
// number, unless it is a line of another log that got among them.
func Lines(r io.Reader, each func(record.Record) error) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 64<<10), maxLine)
	for n := 1; scanner.Scan(); n++ {
		line := bytes.TrimSpace(scanner.Bytes())
		if start := bytes.IndexByte(line, '{'); start > 0 {
			line = line[start:] // a log system's prefix
		}
		if len(line) == 0 || line[0] != '{' {
			continue
		}
		var one record.Record
		if err := json.Unmarshal(line, &one); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if one.Decision == "" || one.Kind != "decision" {
			continue
		}
		if err := each(one); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}
