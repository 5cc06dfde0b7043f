package fakemeta

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
)

// handshakeFlight is how long the relay waits until it repeats a flight.
const handshakeFlight = 200 * time.Millisecond

var (
	errNoCertificate = errors.New("the gateway showed no certificate")
	errFingerprint   = errors.New("the gateway's certificate is not the one of its description")
)

// secure runs the DTLS handshake and then the mouth, until the call is over.
func (p *peer) secure(client bool) {
	ctx, cancel := context.WithCancel(p.c.s.ctx)
	defer cancel()
	stop := context.AfterFunc(p.c.ctx, cancel)
	defer stop()

	select {
	case <-p.paired:
	case <-ctx.Done():
		return
	}
	both := []dtls.Option{
		dtls.WithCertificates(p.c.s.cert),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AEAD_AES_128_GCM),
		dtls.WithInsecureSkipVerify(true), // the fingerprint decides
		dtls.WithVerifyPeerCertificate(p.verify),
		dtls.WithFlightInterval(handshakeFlight),
	}
	conn, err := p.role(client, both)
	if err == nil {
		defer func() { _ = conn.Close() }()
		err = conn.HandshakeContext(ctx)
	}
	if err == nil {
		err = p.keys(conn, client)
	}
	if err != nil {
		if p.c.ctx.Err() == nil && p.c.opts.Flaw == NoFlaw { // it did not end with the call, and is no wonder
			p.blame(NoHandshake, err.Error())
		}
		return
	}
	close(p.secured)
	p.speak(ctx)
}

func (p *peer) role(client bool, both []dtls.Option) (*dtls.Conn, error) {
	if client {
		opts := make([]dtls.ClientOption, 0, len(both))
		for _, o := range both {
			opts = append(opts, o)
		}
		return dtls.ClientWithOptions(p.shake, p.shake.LocalAddr(), opts...)
	}
	opts := []dtls.ServerOption{dtls.WithClientAuth(dtls.RequireAnyClientCert)}
	for _, o := range both {
		opts = append(opts, o)
	}
	return dtls.ServerWithOptions(p.shake, p.shake.LocalAddr(), opts...)
}

func (p *peer) verify(raw [][]byte, _ [][]*x509.Certificate) error {
	if len(raw) == 0 {
		return errNoCertificate
	}
	sum := sha256.Sum256(raw[0])
	if certificateSum(sum[:]) != p.remote.fingerprint {
		return errFingerprint
	}
	return nil
}

// keys derives the SRTP keys, RFC 5764, and lets the ear have what came before
// they were known.
func (p *peer) keys(conn *dtls.Conn, client bool) error {
	profile, ok := conn.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("no SRTP profile in common")
	}
	config := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("handshake has no state")
	}
	if err := config.ExtractSessionKeysFromDTLS(&state, client); err != nil {
		return fmt.Errorf("derive SRTP keys: %w", err)
	}
	k := config.Keys
	out, err := srtp.CreateContext(k.LocalMasterKey, k.LocalMasterSalt, config.Profile)
	if err != nil {
		return fmt.Errorf("SRTP out: %w", err)
	}
	in, err := srtp.CreateContext(k.RemoteMasterKey, k.RemoteMasterSalt, config.Profile)
	if err != nil {
		return fmt.Errorf("SRTP in: %w", err)
	}
	p.out = out
	p.unlock(in)
	return nil
}
