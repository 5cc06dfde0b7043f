package main

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/pion/stun/v3"
)

// check answers a connectivity check.
func (c *customer) check(data []byte, from netip.AddrPort) {
	m := &stun.Message{Raw: append([]byte(nil), data...)}
	if m.Decode() != nil {
		return
	}
	if m.Type == stun.BindingSuccess {
		c.pair(from)
	}
	if m.Type != stun.BindingRequest {
		return
	}
	answer, err := stun.Build(
		stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}, c.integrity, stun.Fingerprint,
	)
	if err != nil {
		return
	}
	c.send(answer.Raw, from)
	if m.Contains(stun.AttrUseCandidate) {
		c.pair(from)
	}
	if m.Contains(stun.AttrICEControlled) {
		c.asks.Store(&from)
		c.nominate()
	}
}

func (c *customer) pair(with netip.AddrPort) {
	c.far.Store(&with)
	c.once.Do(func() { close(c.paired) })
}

// credentials are those of the far end's ICE.
type credentials struct{ ufrag, pwd string }

// learn is for a gateway that does not know ICE-lite: it has to be nominated.
func (c *customer) learn(sdp string) {
	var far credentials
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "a=ice-ufrag:"); ok {
			far.ufrag = v
		}
		if v, ok := strings.CutPrefix(line, "a=ice-pwd:"); ok {
			far.pwd = v
		}
	}
	c.whole.Store(&far)
	c.nominate()
}

// nominate makes a check that nominates, as soon as both is known: the far
// end's credentials and its address.
func (c *customer) nominate() {
	far, to := c.whole.Load(), c.asks.Load()
	if far == nil || to == nil {
		return
	}
	flag := stun.RawAttribute{Type: stun.AttrUseCandidate}
	controlling := stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)}
	priority := stun.RawAttribute{Type: stun.AttrPriority, Value: binary.BigEndian.AppendUint32(nil, 2122260223)}
	m, err := stun.Build(
		stun.TransactionID, stun.BindingRequest, stun.NewUsername(far.ufrag+":"+c.ufrag), setters{flag, controlling, priority},
		stun.NewShortTermIntegrity(far.pwd), stun.Fingerprint,
	)
	if err == nil {
		c.send(m.Raw, *to)
	}
}

// setters add attributes to a STUN message.
type setters []stun.RawAttribute

// AddTo is for stun.Build.
func (s setters) AddTo(m *stun.Message) error {
	for _, a := range s {
		m.Add(a.Type, a.Value)
	}
	return nil
}
