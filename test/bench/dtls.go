package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/srtp/v3"
)

// identity is the certificate of all customers.
type identity struct {
	cert  tls.Certificate
	print string
}

func newIdentity() (*identity, error) {
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	sum := sha256.Sum256(cert.Certificate[0])
	var b strings.Builder
	for i, v := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{v})))
	}
	return &identity{cert, b.String()}, nil
}

// secure waits for ICE and runs DTLS as its server.
func (c *customer) secure(ctx context.Context) error {
	select {
	case <-c.paired:
	case <-ctx.Done():
		return errors.New("ICE did not come up")
	}
	conn, err := dtls.ServerWithOptions(
		(*shaker)(c), net.UDPAddrFromAddrPort(*c.far.Load()),
		dtls.WithCertificates(c.id.cert),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80), // both gateways have it
		dtls.WithInsecureSkipVerify(true),
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
	)
	if err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	c.dtls = conn
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("DTLS: no state")
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfileAes128CmHmacSha1_80}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, false); err != nil {
		return fmt.Errorf("SRTP keys: %w", err)
	}
	in, err := srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile)
	if err != nil {
		return fmt.Errorf("SRTP keys: %w", err)
	}
	if c.out, err = srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile); err != nil {
		return fmt.Errorf("SRTP keys: %w", err)
	}
	c.in.Store(in)
	return nil
}

// shaker is the customer's port as DTLS sees it.
type shaker customer

func (s *shaker) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := s.shake.Read(b)
	return n, s.LocalAddr(), err
}

func (s *shaker) WriteTo(b []byte, _ net.Addr) (int, error) {
	s.send(b, *s.far.Load())
	return len(b), nil
}

func (s *shaker) Close() error                       { return s.shake.Close() }
func (s *shaker) LocalAddr() net.Addr                { return net.UDPAddrFromAddrPort(s.addr) }
func (s *shaker) SetDeadline(t time.Time) error      { return s.shake.SetReadDeadline(t) }
func (s *shaker) SetReadDeadline(t time.Time) error  { return s.shake.SetReadDeadline(t) }
func (s *shaker) SetWriteDeadline(_ time.Time) error { return nil }
