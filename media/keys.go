package media

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// maxDatagram holds what one UDP datagram on any network we meet can carry.
const maxDatagram = 1500

// keys are the SRTP contexts of a call. Each direction has its own, so that
// sending, reading and RTCP share no lock; in is the reader's alone.
type keys struct {
	conn io.Writer
	in   *srtp.Context

	rtpMu  sync.Mutex
	rtpOut *srtp.Context
	plain  [maxDatagram]byte
	sealed [maxDatagram]byte
	header rtp.Header

	rtcpMu  sync.Mutex
	rtcpOut *srtp.Context
}

// deriveKeys takes the SRTP keys from a finished handshake (RFC 5764 section 4.2).
func deriveKeys(conn *dtls.Conn, out io.Writer, client bool) (*keys, error) {
	chosen, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return nil, errors.New("DTLS: no SRTP profile in common")
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfileAes128CmHmacSha1_80}
	if chosen == dtls.SRTP_AEAD_AES_128_GCM {
		cfg.Profile = srtp.ProtectionProfileAeadAes128Gcm
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return nil, errors.New("DTLS: no connection state")
	}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return nil, fmt.Errorf("SRTP keys: %w", err)
	}
	k := &keys{conn: out}
	var err error
	for _, ctx := range []**srtp.Context{&k.rtpOut, &k.rtcpOut} {
		if *ctx, err = srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile); err != nil {
			return nil, fmt.Errorf("SRTP keys: %w", err)
		}
	}
	k.in, err = srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		return nil, fmt.Errorf("SRTP keys: %w", err)
	}
	return k, nil
}

// sendRTP seals and sends one packet. It allocates nothing.
func (k *keys) sendRTP(header *rtp.Header, payload []byte) error {
	k.rtpMu.Lock()
	defer k.rtpMu.Unlock()
	n, err := header.MarshalTo(k.plain[:])
	if err != nil {
		return err
	}
	if n+len(payload) > len(k.plain) {
		return errors.New("packet too long")
	}
	n += copy(k.plain[n:], payload)
	out, err := k.rtpOut.EncryptRTP(k.sealed[:0], k.plain[:n], &k.header)
	if err != nil {
		return err
	}
	_, err = k.conn.Write(out)
	return err
}

// sendRTCP seals and sends a compound packet.
func (k *keys) sendRTCP(compound []byte) error {
	k.rtcpMu.Lock()
	defer k.rtcpMu.Unlock()
	out, err := k.rtcpOut.EncryptRTCP(nil, compound, nil)
	if err != nil {
		return err
	}
	_, err = k.conn.Write(out)
	return err
}
