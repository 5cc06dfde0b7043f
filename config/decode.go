package config

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Bounds of what a file may make the decoder do, aliases included.
const (
	maxDepth = 32
	maxNodes = 100_000
)

// decoder fills a Config from a YAML tree. It goes on after a fault, so that
// one run shows them all, and remembers the line of every path it has seen.
type decoder struct {
	faultLog
	anchors map[string]ast.Node
	secrets []secretRef
	nodes   int
	depth   int
}

// value reads n into v. Null leaves the default.
func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	d.nodes++
	d.depth++
	defer func() { d.depth-- }()
	if d.nodes > maxNodes || d.depth > maxDepth {
		if d.nodes == maxNodes+1 || d.depth > maxDepth {
			d.addAt(path, lineOf(n), "write it out without aliases", "nested too deeply or too large")
		}
		return
	}
	n, ok := d.resolve(n, path)
	if !ok || n.Type() == ast.NullType {
		return
	}
	if _, seen := d.lines[path]; !seen {
		d.lines[path] = lineOf(n)
	}
	switch dst := v.Addr().Interface().(type) {
	case *Secret:
		d.secret(n, dst, path)
		return
	case *Target:
		if text, ok := scalar(n); ok {
			dst.URI = text
			return
		}
	case *Names:
		if text, ok := scalar(n); ok {
			*dst = Names{text}
			return
		}
	}
	switch v.Kind() { //nolint:exhaustive // the other kinds are scalars, or not in Config
	case reflect.Struct:
		if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
			d.scalar(n, v, path)
			return
		}
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// resolve follows anchors and aliases to the node that has the value.
func (d *decoder) resolve(n ast.Node, path string) (ast.Node, bool) {
	for range maxDepth {
		switch node := n.(type) {
		case *ast.AnchorNode:
			d.anchors[node.Name.GetToken().Value] = node.Value
			n = node.Value
		case *ast.AliasNode:
			target, ok := d.anchors[node.Value.GetToken().Value]
			if !ok {
				d.addAt(path, lineOf(n), "define it with & above", "unknown alias %s", quoted(node.Value.GetToken().Value))
				return nil, false
			}
			n = target
		case *ast.TagNode:
			d.addAt(path, lineOf(n), "leave the tag out", "YAML tag %s is not supported", quoted(node.Start.Value))
			return nil, false
		case nil:
			return nil, false
		default:
			return n, true
		}
	}
	d.addAt(path, lineOf(n), "write the value out", "alias refers to itself")
	return nil, false
}

// mapping reads a struct by the names in its yaml tags.
func (d *decoder) mapping(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		d.addAt(path, lineOf(n), "write it as keys and values", "%s is not a group of keys", describe(n))
		return
	}
	fields := fieldsOf(v.Type())
	for _, e := range entries {
		at := join(path, e.key)
		i, ok := fields[e.key]
		if !ok {
			d.addAt(at, e.line, suggestKey(e.key, v.Type()), "unknown key")
			continue
		}
		d.lines[at] = e.line
		d.value(e.value, v.Field(i), at)
	}
	if c, ok := v.Addr().Interface().(interface{ unused() bool }); ok && c.unused() {
		d.forgetSecrets(path)
	}
}

// list reads a slice; an element starts with its type's defaults.
func (d *decoder) list(n ast.Node, v reflect.Value, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.addAt(path, lineOf(n), "write it as [a, b] or as lines that start with -", "%s is not a list", describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.lines[at] = lineOf(item)
		if el, ok := out.Index(i).Addr().Interface().(interface{ defaults() }); ok {
			el.defaults()
		}
		d.value(item, out.Index(i), at)
	}
	v.Set(out)
}

// scalar reads one text, number, switch or duration.
func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	text, ok := scalar(n)
	if !ok {
		d.addAt(path, lineOf(n), "write one value", "%s is not a single value", describe(n))
		return
	}
	if hint, err := setScalar(v, text); err != nil {
		d.addAt(path, lineOf(n), hint, "%s", err.Error())
	}
}

func setScalar(v reflect.Value, text string) (hint string, err error) {
	switch dst := v.Addr().Interface().(type) {
	case *time.Duration:
		if *dst, err = time.ParseDuration(text); err != nil {
			return "write it like 30s, 5m or 4h", fmt.Errorf("%s is not a duration", quoted(text))
		}
		return "", nil
	case *netip.Prefix:
		if *dst, err = parsePrefix(text); err != nil {
			return "write it like 10.0.0.0/24 or 10.0.0.5", fmt.Errorf("%s is not an address or network", quoted(text))
		}
		return "", nil
	case *netip.Addr:
		if err = dst.UnmarshalText([]byte(text)); err != nil {
			return "write it like 192.0.2.1 or 2001:db8::1", fmt.Errorf("%s is not an IP address", quoted(text))
		}
		return "", nil
	case *netip.AddrPort:
		if err = dst.UnmarshalText([]byte(text)); err != nil || !dst.IsValid() {
			return "write it like 0.0.0.0:40000 or [::]:40000", fmt.Errorf("%s is not an address with a port", quoted(text))
		}
		return "", nil
	case encoding.TextUnmarshaler:
		var bad *badValueError
		if err = dst.UnmarshalText([]byte(text)); asBadValue(err, &bad) {
			return bad.hint, err
		}
		return "", err
	}
	switch v.Kind() { //nolint:exhaustive // Config has no other kinds
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch text {
		case "true", "false":
			v.SetBool(text == "true")
		default:
			return "write true or false", fmt.Errorf("%s is neither true nor false", quoted(text))
		}
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return "write it in digits", fmt.Errorf("%s is not a whole number", quoted(text))
		}
		v.SetInt(int64(n))
	}
	return "", nil
}

// parsePrefix takes a network, or an address as the network of one.
func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err == nil && p != p.Masked() {
			return p, fmt.Errorf("host bits are set")
		}
		return p, err
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen()), nil
}
