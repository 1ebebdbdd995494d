// SPDX-FileCopyrightText: The Mainstay authors
// SPDX-License-Identifier: Apache-2.0

package fieldset

import (
	"strconv"

	"github.com/valyala/fastjson"
)

// JSONPatch is the JSON Patch (RFC 6902) that makes to out of from; nil where
// they are equal. Lists are addressed by index, so that it fits exactly from.
func JSONPatch(from, to *fastjson.Value) []byte {
	var p patcher
	p.values("", from, to)
	if len(p.out) == 0 {
		return nil
	}
	p.out[0] = '['
	return append(p.out, ']')
}

// patcher writes operations, each after a comma.
type patcher struct{ out []byte }

func (p *patcher) values(at string, from, to *fastjson.Value) {
	if Equal(from, to) {
		return
	}
	start := len(p.out)
	switch {
	case is(from, fastjson.TypeObject) && is(to, fastjson.TypeObject):
		p.objects(at, from, to)
	case is(from, fastjson.TypeArray) && is(to, fastjson.TypeArray):
		p.lists(at, from, to)
	default:
		p.operation(OpReplace, at, to)
		return
	}
	if at == "" {
		return // the whole document has no address that every reader knows
	}
	// One operation is better than many that say more.
	var whole patcher
	whole.operation(OpReplace, at, to)
	if len(whole.out) < len(p.out)-start {
		p.out = append(p.out[:start], whole.out...)
	}
}

func (p *patcher) objects(at string, from, to *fastjson.Value) {
	from.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		name := string(key)
		if next := to.Get(name); next != nil {
			p.values(at+"/"+EscapePointer(name), v, next)
		} else {
			p.operation(OpRemove, at+"/"+EscapePointer(name), nil)
		}
	})
	to.GetObject().Visit(func(key []byte, v *fastjson.Value) {
		if name := string(key); from.Get(name) == nil {
			p.operation(OpAdd, at+"/"+EscapePointer(name), v)
		}
	})
}

func (p *patcher) lists(at string, from, to *fastjson.Value) {
	before, after := from.GetArray(), to.GetArray()
	head := 0
	for head < len(before) && head < len(after) && Equal(before[head], after[head]) {
		head++
	}
	tail := 0
	for tail < len(before)-head && tail < len(after)-head && Equal(before[len(before)-1-tail], after[len(after)-1-tail]) {
		tail++
	}
	gone, come := before[head:len(before)-tail], after[head:len(after)-tail]
	switch {
	case len(gone) == len(come):
		for i := range gone {
			p.values(at+"/"+strconv.Itoa(head+i), gone[i], come[i])
		}
	case len(come) == 0:
		for range gone {
			p.operation(OpRemove, at+"/"+strconv.Itoa(head), nil)
		}
	case len(gone) == 0:
		for i, v := range come {
			p.operation(OpAdd, at+"/"+strconv.Itoa(head+i), v)
		}
	default:
		p.operation(OpReplace, at, to)
	}
}

func (p *patcher) operation(op Op, at string, value *fastjson.Value) {
	p.out = append(p.out, `,{"op":"`...)
	p.out = append(p.out, op...)
	p.out = append(p.out, `","path":`...)
	p.out = append(p.out, quote(at)...)
	if op != OpRemove {
		p.out = append(p.out, `,"value":`...)
		p.out = Canonical(p.out, value)
	}
	p.out = append(p.out, '}')
}
