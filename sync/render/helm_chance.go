// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// maxRepeat bounds what one call makes, in elements or bytes.
const maxRepeat = 1_000_000

// chance stands for what is different each time: in each of two passes it
// answers otherwise, so that whatever depends on it differs between them, and
// whatever does not is the same.
type chance struct {
	pass int
}

// chanceNames are the functions of templates whose answers are different each
// time, or in each cluster.
var chanceNames = []string{
	"ago", "bcrypt", "encryptAES", "genCA", "genCAWithKey", "genPrivateKey", "genSelfSignedCert",
	"genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey", "htpasswd", "lookup", "now",
	"randAlpha", "randAlphaNum", "randAscii", "randBytes", "randInt", "randNumeric", "shuffle", "uuidv4",
}

// pair is what the functions that make certificates answer.
type pair struct{ Cert, Key string }

// functions replace those of Helm.
func (c *chance) functions() template.FuncMap {
	f := template.FuncMap{
		"lookup": c.lookup,
		"getHostByName": func(string) (string, error) {
			return "", errors.New("getHostByName asks the network, which rendering never does: give the address as a value")
		},
		"keys": keys, "values": values,
	}
	maps.Copy(f, c.random())
	maps.Copy(f, c.clock())
	maps.Copy(f, bounded())
	return f
}

func (c *chance) random() template.FuncMap {
	text := func(letters string) func(int) (string, error) {
		return func(n int) (string, error) {
			if n < 0 || n > maxRepeat {
				return "", fmt.Errorf("%d characters are too many", n)
			}
			return strings.Repeat(letters[c.pass:c.pass+1], n), nil
		}
	}
	pem := func(...any) string {
		return fmt.Sprintf("-----BEGIN %d-----\nAAAA\n-----END %d-----\n", c.pass, c.pass)
	}
	certificate := func(...any) pair { return pair{pem(), pem()} }
	mark := func(...any) string { return fmt.Sprintf("chance-%d", c.pass) }
	return template.FuncMap{
		"randAlphaNum": text("ab"), "randAlpha": text("ab"), "randAscii": text("ab"), "randBytes": text("ab"), "randNumeric": text("12"),
		"randInt": func(from, to int) int {
			if c.pass == 0 {
				return from
			}
			return max(from, to-1)
		},
		"shuffle": func(s string) string {
			runes := []rune(s)
			slices.Sort(runes)
			if c.pass == 1 {
				slices.Reverse(runes)
			}
			return string(runes)
		},
		"uuidv4": func() string { return strings.Repeat(fmt.Sprint(c.pass+1), 8) + "-0000-4000-8000-000000000000" },
		"bcrypt": mark, "htpasswd": mark, "encryptAES": mark, "genPrivateKey": pem,
		"genCA": certificate, "genCAWithKey": certificate, "genSelfSignedCert": certificate,
		"genSelfSignedCertWithKey": certificate, "genSignedCert": certificate, "genSignedCertWithKey": certificate,
	}
}

// clock has two times of which every part differs. Dates are in UTC: the zone
// of the machine would be chance as well.
func (c *chance) clock() template.FuncMap {
	now := time.Date(2001, time.February, 3, 4, 5, 6, 7_000_000, time.UTC)
	if c.pass == 1 {
		now = time.Date(2012, time.November, 23, 17, 48, 59, 8_000_000, time.UTC)
	}
	original := sprig.TxtFuncMap()
	inZone, ok := original["dateInZone"].(func(string, any, string) string)
	round, roundOK := original["durationRound"].(func(any) string)
	if !ok || !roundOK {
		refuse := func(...any) (string, error) { return "", errors.New("dates are not available") }
		return template.FuncMap{"now": func() time.Time { return now }, "date": refuse, "dateInZone": refuse, "ago": refuse, "durationRound": refuse}
	}
	// Without a date these take the present one.
	date := func(layout string, at any, zone string) string {
		switch at.(type) {
		case time.Time, *time.Time, int64, int, int32:
		default:
			at = now
		}
		return inZone(layout, at, zone)
	}
	return template.FuncMap{
		"now":            func() time.Time { return now },
		"date":           func(layout string, at any) string { return date(layout, at, "UTC") },
		"htmlDate":       func(at any) string { return date("2006-01-02", at, "UTC") },
		"dateInZone":     date,
		"date_in_zone":   date,
		"htmlDateInZone": func(at any, zone string) string { return date("2006-01-02", at, zone) },
		"ago":            func(any) string { return fmt.Sprintf("%dm", c.pass+1) },
		"durationRound": func(d any) string {
			if at, ok := d.(time.Time); ok {
				d = now.Sub(at).String()
			}
			return round(d)
		},
	}
}

// lookup finds nothing, as "helm template" does; in the second pass it finds an
// object, so that what depends on the cluster is seen.
func (c *chance) lookup(apiVersion, kind, namespace, name string) (map[string]any, error) {
	if c.pass == 0 {
		return map[string]any{}, nil
	}
	found := map[string]any{
		"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": namespace},
		"data": map[string]any{"mainstay": "bWFpbnN0YXk="}, "spec": map[string]any{}, "status": map[string]any{},
	}
	if name == "" {
		return map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "items": []any{found}}, nil
	}
	return found, nil
}

// keys of maps in order: Helm's own are in another order each time.
func keys(dicts ...map[string]any) []string {
	all := []string{}
	for _, dict := range dicts {
		all = append(all, slices.Sorted(maps.Keys(dict))...)
	}
	return all
}

// values of a map, in the order of its keys.
func values(dict map[string]any) []any {
	all := []any{}
	for _, key := range slices.Sorted(maps.Keys(dict)) {
		all = append(all, dict[key])
	}
	return all
}

// bounded are the functions that make much of little.
func bounded() template.FuncMap {
	f := template.FuncMap{
		"repeat": func(count int, s string) (string, error) {
			if count < 0 || count*len(s) > maxRepeat || count > maxRepeat {
				return "", fmt.Errorf("repeat makes more than %d bytes", maxRepeat)
			}
			return strings.Repeat(s, count), nil
		},
	}
	original := sprig.TxtFuncMap()
	for _, name := range []string{"until", "untilStep", "seq"} {
		function := reflect.ValueOf(original[name])
		f[name] = func(args ...any) (any, error) { return limitedCall(name, function, args) }
	}
	return f
}

// limitedCall calls a function that counts, unless it would count too far.
func limitedCall(name string, function reflect.Value, args []any) (any, error) {
	in := make([]reflect.Value, len(args))
	kind := function.Type()
	if !kind.IsVariadic() && len(args) != kind.NumIn() {
		return nil, fmt.Errorf("%s wants %d arguments, not %d", name, kind.NumIn(), len(args))
	}
	for i, arg := range args {
		n, ok := whole(arg)
		if !ok {
			return nil, fmt.Errorf("argument %d of %s is no whole number", i+1, name)
		}
		if n > maxRepeat || n < -maxRepeat {
			return nil, fmt.Errorf("%s counts further than %d", name, maxRepeat)
		}
		in[i] = reflect.ValueOf(n)
	}
	return function.Call(in)[0].Interface(), nil
}

func whole(arg any) (int, bool) {
	switch n := reflect.ValueOf(arg); {
	case n.CanInt():
		return int(n.Int()), true
	case n.CanFloat() && n.Float() == float64(int(n.Float())):
		return int(n.Float()), true
	}
	if number, ok := arg.(json.Number); ok {
		n, err := number.Int64()
		return int(n), err == nil
	}
	return 0, false
}
