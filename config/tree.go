package config

import (
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	line  int
	value ast.Node
}

// entries lists a mapping's keys, merge keys (<<) expanded; a key that is
// written twice is a fault. ok is false when n is no mapping.
func (d *decoder) entries(n ast.Node, path string) (out []entry, ok bool) {
	var values []*ast.MappingValueNode
	switch node := n.(type) {
	case *ast.MappingNode:
		values = node.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{node}
	default:
		return nil, false
	}
	own := make(map[string]bool, len(values))
	var merged []entry
	for _, mv := range values {
		if mv.Key.IsMergeKey() {
			merged = append(merged, d.merge(mv.Value, path)...)
			continue
		}
		key, isText := scalar(mv.Key)
		if !isText {
			d.addAt(path, lineOf(mv.Key), "write a plain name", "a key must be a plain name")
			continue
		}
		if own[key] {
			d.addAt(join(path, key), lineOf(mv.Key), "keep one of them", "written twice")
			continue
		}
		own[key] = true
		out = append(out, entry{key: key, line: lineOf(mv.Key), value: mv.Value})
	}
	for _, e := range merged {
		if !own[e.key] {
			own[e.key] = true
			out = append(out, e)
		}
	}
	return out, true
}

// merge expands the value of a merge key: one mapping or a list of them.
func (d *decoder) merge(n ast.Node, path string) (out []entry) {
	d.depth++
	d.nodes++
	defer func() { d.depth-- }()
	if d.depth > maxDepth || d.nodes > maxNodes {
		d.addAt(path, lineOf(n), "write the keys out", "merge keys nested too deeply")
		return nil
	}
	n, ok := d.resolve(n, path)
	if !ok {
		return nil
	}
	if seq, isList := n.(*ast.SequenceNode); isList {
		for _, item := range seq.Values {
			out = append(out, d.merge(item, path)...)
		}
		return out
	}
	if out, ok = d.entries(n, path); !ok {
		d.addAt(path, lineOf(n), "merge an alias of a group of keys", "%s cannot be merged", describe(n))
	}
	return out
}

// scalar is the text of a single value as it was written, so that 00 and
// +351210000321 survive; ok is false for lists, groups and null.
func scalar(n ast.Node) (text string, ok bool) {
	switch node := n.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(node.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}

// describe names the kind of a node for a message.
func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a group of keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "an empty value"
	default:
		if text, ok := scalar(n); ok {
			return quoted(text)
		}
		return "this"
	}
}

func lineOf(n ast.Node) int {
	if n == nil {
		return 0
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0].Key
	} else if mv, ok := n.(*ast.MappingValueNode); ok {
		n = mv.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// fieldsOf maps the yaml names of a struct to its fields.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int)
	for f := range t.Fields() {
		if name := f.Tag.Get("yaml"); name != "" {
			fields[name] = f.Index[0]
		}
	}
	return fields
}

// suggestKey is the hint for an unknown key: the one that was meant, or all.
func suggestKey(key string, t reflect.Type) string {
	var names []string
	best, bestDistance := "", 3
	for f := range t.Fields() {
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		names = append(names, name)
		if dist := distance(key, name, bestDistance); dist < bestDistance {
			best, bestDistance = name, dist
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "known here: " + strings.Join(names, ", ")
}

// distance counts the edits between two names, at most limit.
func distance(a, b string, limit int) int {
	if len(a) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
