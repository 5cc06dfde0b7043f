package config

import (
	"slices"
	"strings"
)

// Number finds a business number by its name.
func (c *Config) Number(name string) (Number, bool) {
	i := slices.IndexFunc(c.WhatsApp.Numbers, func(n Number) bool { return n.Name == name })
	if i < 0 {
		return Number{}, false
	}
	return c.WhatsApp.Numbers[i], true
}

// Trunk finds a trunk by its name.
func (c *Config) Trunk(name string) (Trunk, bool) {
	i := slices.IndexFunc(c.Trunks, func(t Trunk) bool { return t.Name == name })
	if i < 0 {
		return Trunk{}, false
	}
	return c.Trunks[i], true
}

// TLS says whether the target is reached over TLS.
func (t Target) TLS() bool {
	scheme, rest, _ := strings.Cut(strings.ToLower(t.URI), ":")
	_, params, _ := strings.Cut(rest, ";")
	return scheme == "sips" || slices.Contains(strings.Split(params, ";"), "transport=tls")
}
