package media

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/transport/v4/packetio"
)

const (
	// flightInterval is the first repetition of a lost DTLS flight; it doubles
	// from there. Common stacks wait a whole second, in which words get lost.
	flightInterval = 150 * time.Millisecond

	// replayWindow is how many packets back a late one is still taken.
	replayWindow = 128

	// pipePackets bounds what is queued for the DTLS side of a call.
	pipePackets = 64
)

// errFingerprint says that the far end's certificate is not the one that its
// session description announced: somebody sits in between.
var errFingerprint = errors.New("certificate does not match the fingerprint")

// identity is the key of one call: nothing of it outlives the call.
type identity struct {
	cert tls.Certificate
	sum  [32]byte // sha-256 of the certificate
}

// newIdentity makes a P-256 certificate; with EC the handshake fits in
// unfragmented datagrams.
func newIdentity(now time.Time) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("call key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("call certificate: %w", err)
	}
	const life = 7 * 24 * time.Hour
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: cname},
		NotBefore:    now.Add(-life),
		NotAfter:     now.Add(life),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("call certificate: %w", err)
	}
	return &identity{
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		sum:  sha256.Sum256(der),
	}, nil
}

// matches compares a certificate with the announced fingerprint (RFC 8122
// section 6).
func (f fingerprint) matches(der []byte) bool {
	hash := map[string]crypto.Hash{"sha-256": crypto.SHA256, "sha-384": crypto.SHA384, "sha-512": crypto.SHA512}[f.hash]
	if hash == 0 || !hash.Available() {
		return false
	}
	h := hash.New()
	h.Write(der)
	return bytes.Equal(h.Sum(nil), f.sum)
}

// handshake runs DTLS over the pipe until it is up, fails or ctx ends, and
// returns the SRTP keys, whose packets go to media. The certificate is compared before the far end's
// Finished is accepted, so a wrong one never yields keys.
func handshake(
	ctx context.Context, pipe *dtlsPipe, media io.Writer, id *identity, want fingerprint, client bool,
) (*dtls.Conn, *keys, error) {
	shared := []dtls.Option{
		dtls.WithCertificates(id.cert),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80),
		dtls.WithFlightInterval(flightInterval),
		dtls.WithReplayProtectionWindow(replayWindow),
		dtls.WithLoggerFactory(quiet()),
		dtls.WithInsecureSkipVerify(true), // self-signed on both sides; the fingerprint is what counts
		dtls.WithVerifyPeerCertificate(func(certs [][]byte, _ [][]*x509.Certificate) error {
			if len(certs) == 0 || !want.matches(certs[0]) {
				return errFingerprint
			}
			return nil
		}),
	}
	conn, err := dial(pipe, shared, client)
	if err != nil {
		return nil, nil, fmt.Errorf("DTLS: %w", err)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("DTLS handshake: %w", err)
	}
	k, err := deriveKeys(conn, media, client)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, k, nil
}

func dial(pipe *dtlsPipe, shared []dtls.Option, client bool) (*dtls.Conn, error) {
	remote := pipe.RemoteAddr()
	if client {
		opts := make([]dtls.ClientOption, 0, len(shared))
		for _, o := range shared {
			opts = append(opts, o)
		}
		return dtls.ClientWithOptions(pipe, remote, opts...)
	}
	opts := make([]dtls.ServerOption, 0, len(shared)+2)
	for _, o := range shared {
		opts = append(opts, o)
	}
	opts = append(opts,
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		// Only a path that passed ICE gets here, so no cookie round trip is needed.
		dtls.WithInsecureSkipVerifyHello(true),
	)
	return dtls.ServerWithOptions(pipe, remote, opts...)
}

// dtlsPipe is the DTLS share of an ICE connection: the call's reader puts in
// what RFC 7983 says is DTLS, writes go straight out.
type dtlsPipe struct {
	*ice.Conn
	in *packetio.Buffer
}

func newDTLSPipe(conn *ice.Conn) *dtlsPipe {
	p := &dtlsPipe{Conn: conn, in: packetio.NewBuffer()}
	p.in.SetLimitCount(pipePackets)
	return p
}

// ReadFrom waits for the next DTLS datagram.
func (p *dtlsPipe) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.in.Read(b)
	return n, p.RemoteAddr(), err
}

// WriteTo sends on the selected pair, which is the only address there is.
func (p *dtlsPipe) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

// SetDeadline, SetReadDeadline and SetWriteDeadline concern this share alone.
func (p *dtlsPipe) SetDeadline(t time.Time) error { return p.in.SetReadDeadline(t) }

// SetReadDeadline makes ReadFrom give up at t.
func (p *dtlsPipe) SetReadDeadline(t time.Time) error { return p.in.SetReadDeadline(t) }

// SetWriteDeadline does nothing: a datagram is written or dropped at once.
func (p *dtlsPipe) SetWriteDeadline(time.Time) error { return nil }

// Close ends this share and leaves the ICE connection open.
func (p *dtlsPipe) Close() error { return p.in.Close() }
