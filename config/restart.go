package config

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
)

// NeedsRestart names what differs between two configurations and cannot be
// changed while calls are up: addresses that sockets are bound to, names that
// are written into the store and on the wire. A reload that names anything is
// to be refused whole.
func NeedsRestart(old, changed *Config) []string {
	var names []string
	fixed := []struct {
		path string
		a, b any
	}{
		{"node", old.Node, changed.Node},
		{"data_dir", old.DataDir, changed.DataDir},
		{"log.format", old.Log.Format, changed.Log.Format},
		{"http.webhook.listen", old.HTTP.Webhook.Listen, changed.HTTP.Webhook.Listen},
		{"http.webhook.path", old.HTTP.Webhook.Path, changed.HTTP.Webhook.Path},
		{"http.webhook.tls", old.HTTP.Webhook.TLS, changed.HTTP.Webhook.TLS},
		{"http.admin.listen", old.HTTP.Admin.Listen, changed.HTTP.Admin.Listen},
		{"media", old.Media, changed.Media},
		{"sip", sorted(old.SIP), sorted(changed.SIP)},
	}
	for _, f := range fixed {
		if !reflect.DeepEqual(f.a, f.b) {
			names = append(names, differing(f.path, f.a, f.b)...)
		}
	}
	return names
}

// sorted makes the order of listeners, which means nothing, the same.
func sorted(s SIP) SIP {
	s.Listen = slices.SortedFunc(slices.Values(s.Listen), cmp.Compare)
	return s
}

// differing goes down to the keys of two unequal structs, so that the
// operator reads which line it is.
func differing(path string, a, b any) (names []string) {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	if va.Kind() != reflect.Struct || strings.HasSuffix(path, ".tls") {
		return []string{path}
	}
	for i := range va.NumField() {
		name := va.Type().Field(i).Tag.Get("yaml")
		if name == "" {
			return []string{path} // an address or the like
		}
		fa, fb := va.Field(i).Interface(), vb.Field(i).Interface()
		if !reflect.DeepEqual(fa, fb) {
			names = append(names, differing(join(path, name), fa, fb)...)
		}
	}
	return names
}
