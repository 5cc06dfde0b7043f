package media

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// maxSources is how many SSRCs one key may bring: each costs memory until the
// key goes. A PBX that puts another phone on the line brings another.
const maxSources = 64

// errSources refuses a source that would be one too many.
var errSources = errors.New("too many sources under one key")

func (k *masterKey) context(opts ...srtp.ContextOption) (*srtp.Context, error) {
	at := len(k.secret) - saltSize
	if len(k.mki) > 0 {
		opts = append(opts, srtp.MasterKeyIndicator(k.mki))
	}
	return srtp.CreateContext(k.secret[:at], k.secret[at:], k.suite.profile, opts...)
}

// sealer protects what we send to the PBX. RTP is the sender's alone; reports
// may come from anywhere.
type sealer struct {
	rtp    *srtp.Context
	header rtp.Header
	sealed [maxDatagram]byte

	mu   sync.Mutex
	rtcp *srtp.Context
}

func newSealer(k *masterKey) (*sealer, error) {
	s := &sealer{}
	var err error
	if s.rtp, err = k.context(); err != nil {
		return nil, err
	}
	s.rtcp, err = k.context()
	return s, err
}

// packet is valid until the next call.
func (s *sealer) packet(plain []byte) ([]byte, error) {
	return s.rtp.EncryptRTP(s.sealed[:0], plain, &s.header)
}

func (s *sealer) report(plain []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rtcp.EncryptRTCP(nil, plain, nil)
}

// opener checks and decrypts what comes from the PBX. RTP is its reader's alone;
// reports may come on either port.
type opener struct {
	rtp     *srtp.Context
	plain   [maxDatagram]byte
	sources []uint32
	former  atomic.Pointer[opener] // key of before, for packets that were under way when it changed

	mu        sync.Mutex
	rtcp      *srtp.Context
	reporters []uint32
}

func newOpener(k *masterKey, former *opener) (*opener, error) {
	o := &opener{sources: make([]uint32, 0, maxSources), reporters: make([]uint32, 0, maxSources)}
	var err error
	if o.rtp, err = k.context(srtp.SRTPReplayProtection(replayWindow)); err != nil {
		return nil, err
	}
	if o.rtcp, err = k.context(srtp.SRTCPReplayProtection(replayWindow)); err != nil {
		return nil, err
	}
	if former != nil {
		former.former.Store(nil)
		o.former.Store(former)
	}
	return o, nil
}

// packet returns the RTP packet if it is authentic and new, valid until the next
// call.
func (o *opener) packet(data []byte, h *rtp.Header) ([]byte, error) {
	plain, err := o.open(data, h)
	if err == nil {
		o.former.Store(nil)
		return plain, nil
	}
	if f := o.former.Load(); f != nil {
		return f.open(data, h)
	}
	return nil, err
}

func (o *opener) open(data []byte, h *rtp.Header) ([]byte, error) {
	if _, err := h.Unmarshal(data); err != nil {
		return nil, err
	}
	known := slices.Contains(o.sources, h.SSRC)
	if !known && len(o.sources) == maxSources {
		return nil, errSources
	}
	plain, err := o.rtp.DecryptRTP(o.plain[:0], data, h)
	if err == nil && !known {
		o.sources = append(o.sources, h.SSRC)
	}
	return plain, err
}

// report returns the compound packet if it is authentic and new.
func (o *opener) report(data []byte) ([]byte, error) {
	if len(data) < 8 {
		return nil, errors.New("report too short")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	from := binary.BigEndian.Uint32(data[4:])
	known := slices.Contains(o.reporters, from)
	if !known && len(o.reporters) == maxSources {
		return nil, errSources
	}
	plain, err := o.rtcp.DecryptRTCP(nil, data, nil)
	if err == nil && !known {
		o.reporters = append(o.reporters, from)
	}
	return plain, err
}
