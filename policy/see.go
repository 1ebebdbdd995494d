// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/mainstay-gitops/mainstay/policy/ownership"
)

// Sight is the policies that were in force at one time. To take it costs
// nothing; the zero value has none.
type Sight struct{ now *snapshot }

// Sight returns the policies in force.
func (e *Engine) Sight() Sight { return Sight{e.sources.Load()} }

// SourceDigest names the Rego of one source.
type SourceDigest struct {
	Key    string `json:"key"`
	Digest string `json:"digest"`
}

func digestOf(sources []SourceDigest) string {
	sum := sha256.New()
	for _, s := range sources {
		fmt.Fprintf(sum, "%q %s\n", s.Key, s.Digest)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Seen is what policies saw of a change: enough to judge it again elsewhere.
type Seen struct {
	// Input is all of input, with the values of Secrets as keyed hashes.
	Input json.RawMessage
	// Sources that were asked, the built-ins first, and the Digest of them all.
	Sources []SourceDigest
	Digest  string
	// Data is what the sources can read of data.cluster for this change: the
	// kinds they name, in the object's namespace and outside any. Nil where
	// they name none.
	Data json.RawMessage
	// DataDigest is that of Data; it is there for data that is left out, too.
	DataDigest string
	// DataLeftOut tells that there were more objects than are kept.
	DataLeftOut bool
}

// The most that is kept of data.cluster for one decision.
const (
	maxSeenObjects = 500
	maxSeenData    = 64 << 10
)

// See writes down what policies see of a change. It costs many times what
// judging does, so it is for afterwards. s is the Sight of the judgement;
// data.cluster is that of now. The change needs its documents.
func (e *Engine) See(s Sight, c *Change) (Seen, error) {
	var out Seen
	var err error
	if out.Input, err = jsonOf(e.input(c, pathsOf(c), everything())); err != nil {
		return Seen{}, fmt.Errorf("write down input: %w", err)
	}
	if s.now == nil {
		return out, nil
	}
	data := map[string]map[string]map[string]ast.Value{}
	objects := 0
	for _, source := range s.now.list {
		if !source.speaksOf(c) {
			continue
		}
		out.Sources = append(out.Sources, SourceDigest{source.Key, source.loaded.Digest})
		for _, kind := range source.needs {
			objects += e.cluster.seen(data, groupKey(kind.Group), kind.Kind, c.ID().Namespace)
		}
	}
	out.Digest = digestOf(out.Sources)
	return out, out.setData(data, objects)
}

func (s *Seen) setData(data map[string]map[string]map[string]ast.Value, objects int) error {
	if len(data) == 0 {
		return nil
	}
	if objects > maxSeenObjects {
		s.DataLeftOut = true
		return nil
	}
	plain := map[string]map[string]map[string]json.RawMessage{}
	for group, kinds := range data {
		plain[group] = map[string]map[string]json.RawMessage{}
		for kind, namespaces := range kinds {
			plain[group][kind] = map[string]json.RawMessage{}
			for namespace, value := range namespaces {
				raw, err := jsonOf(value)
				if err != nil {
					return fmt.Errorf("write down data: %w", err)
				}
				plain[group][kind][namespace] = raw
			}
		}
	}
	raw, err := json.Marshal(plain)
	if err != nil {
		return fmt.Errorf("write down data: %w", err)
	}
	digest := sha256.Sum256(raw)
	s.DataDigest = hex.EncodeToString(digest[:])
	if len(raw) > maxSeenData {
		s.DataLeftOut = true
		return nil
	}
	s.Data = raw
	return nil
}

// seen puts what policies may read of one kind into data, and counts it.
func (c *cluster) seen(data map[string]map[string]map[string]ast.Value, group, kind, namespace string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if data[group] == nil {
		data[group] = map[string]map[string]ast.Value{}
	}
	if data[group][kind] != nil {
		return 0
	}
	data[group][kind] = map[string]ast.Value{}
	g := c.root.below[group]
	if g == nil || g.below[kind] == nil {
		return 0
	}
	n := 0
	for _, name := range []string{namespace, ""} {
		b := g.below[kind].below[name]
		if b == nil || data[group][kind][name] != nil {
			continue
		}
		if n += len(b.below); n > maxSeenObjects {
			return n
		}
		data[group][kind][name] = b.read()
	}
	return n
}

// RuleIn is a rule of a source.
type RuleIn struct {
	RuleInfo
	Source string
}

// RulesFor are the rules of all sources that speak of an object, those that are
// built in left out.
func (e *Engine) RulesFor(record *ownership.Record) []RuleIn {
	var out []RuleIn
	for _, s := range e.sources.Load().list {
		if s.builtin() || !s.speaksOf(&Change{Record: record}) {
			continue
		}
		for _, r := range s.loaded.Rules {
			out = append(out, RuleIn{r, s.Key})
		}
	}
	return out
}
