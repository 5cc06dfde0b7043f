package sip

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"wagate/config"
)

// TLS is 1.2 or later, without ALPN (PBXs and Meta's servers refuse the name
// "sip"), and no session is ever resumed: each connection shows its certificates
// to the CAs of now.

// identityOf builds what a tls:// listener shows and asks for. With a CA the far
// end has to show a certificate too.
func identityOf(files config.TLS) (*tls.Config, error) {
	if files.Cert == "" {
		return nil, nil //nolint:nilnil // nothing to show: no tls:// listener
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		return nil, fmt.Errorf("sip.tls: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, SessionTicketsDisabled: true}
	if files.CA == "" {
		return c, nil
	}
	if c.ClientCAs, _, err = authorities(files.CA); err != nil {
		return nil, fmt.Errorf("sip.tls.ca: %w", err)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// listenerTLS asks for the identity of now on every connection, so that a reload
// changes it and leaves the connections there are alone.
func (s *Server) listenerTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return s.identity.Load(), nil
	}}
}

// authorities reads a file of CA certificates.
func authorities(name string) (*x509.CertPool, []byte, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s has no certificate", name)
	}
	return pool, pem, nil
}

// tlsClient is how a trunk opens TLS connections.
type tlsClient struct {
	config *tls.Config
	// owner tells connections apart that were opened for other trunks, or with
	// other certificates: a connection is used again only under its own.
	owner string
}

// newTLSClient reads the trunk's files as they are now.
func newTLSClient(t config.Trunk) (*tlsClient, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	sum := sha256.New()
	if t.TLS.CA != "" {
		pool, pem, err := authorities(t.TLS.CA)
		if err != nil {
			return nil, fmt.Errorf("trunk %s: tls.ca: %w", t.Name, err)
		}
		c.RootCAs = pool
		sum.Write(pem)
	}
	if t.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.TLS.Cert, t.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("trunk %s: tls: %w", t.Name, err)
		}
		c.Certificates = []tls.Certificate{pair}
		for _, der := range pair.Certificate {
			sum.Write(der)
		}
	}
	return &tlsClient{config: c, owner: t.Name + "|" + hex.EncodeToString(sum.Sum(nil))}, nil
}

// expecting returns the configuration for one far end. Its certificate must name
// the host of the target in full: a wildcard does not (RFC 5922 section 7.2).
func (c *tlsClient) expecting(name string) *tls.Config {
	one := c.config.Clone()
	one.ServerName = name
	one.VerifyConnection = func(state tls.ConnectionState) error {
		leaf := state.PeerCertificates[0]
		if _, err := netip.ParseAddr(name); err == nil || slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return strings.EqualFold(n, name) }) {
			return nil
		}
		return errWildcard
	}
	return one
}

var errWildcard = errors.New("the certificate names the host by a wildcard only")

// connKey names a connection.
type connKey struct {
	endpoint
	owner string // of a TLS connection that we opened
	twin  uint64 // of one that the far end opened beside ours to the same port; else 0
}

// keyOf names the connection of a trunk to an endpoint.
func (t *trunk) keyOf(to endpoint) connKey {
	if to.proto != "tls" || t.tls == nil {
		return connKey{endpoint: to}
	}
	if to.name == "" {
		to.name = t.nameAt(to.addr)
	}
	return connKey{endpoint: to, owner: t.tls.owner}
}

// nameAt returns whom the trunk has at an address: the target there, else on
// that host, else the first. Whoever else answers has no such certificate.
func (t *trunk) nameAt(addr netip.AddrPort) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	name, best := "", 0
	for _, p := range t.places {
		score := 1 + btoi(p.to.addr.Addr() == addr.Addr()) + btoi(p.to.addr == addr)
		if p.to.name != "" && score > best {
			name, best = p.to.name, score
		}
	}
	return name
}

// shake makes a connection of ours a TLS connection. ctx bounds it.
func (c *conn) shake(ctx context.Context, nc net.Conn) (net.Conn, error) {
	if c.secure == nil {
		return nil, errors.New("the trunk has no target with TLS")
	}
	secured := tls.Client(nc, c.secure)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, tlsFault(c.secure.ServerName, err)
	}
	return secured, nil
}

// TLSError says why a TLS connection to a trunk could not be made, in words for
// whoever has to correct it.
type TLSError struct {
	What string // what is wrong
	Hint string // what to do
	err  error
}

func (e *TLSError) Error() string { return "tls: " + e.What }

// Unwrap returns what crypto/tls said.
func (e *TLSError) Unwrap() error { return e.err }

// tlsFault puts what crypto/tls says of a far end into words.
func tlsFault(name string, err error) error {
	fault := &TLSError{What: err.Error(), Hint: "check the certificates on both sides", err: err}
	var (
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		alert   *net.OpError
	)
	switch {
	case errors.Is(err, errWildcard):
		fault.What = "the certificate names " + name + " by a wildcard only, which RFC 5922 does not allow"
		fault.Hint = "give the PBX a certificate with " + name + " in its subjectAltName"
	case errors.As(err, &host):
		fault.What = "the certificate is not for " + name + " but for " + namesOf(host.Certificate)
		fault.Hint = "write a name of the certificate as the target's host, or give the PBX one with " + name + " in its subjectAltName"
	case errors.As(err, &unknown):
		fault.What = "the certificate of " + name + " is signed by no CA that is known here"
		fault.Hint = "name the file of the PBX's CA in the trunk's tls.ca"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		fault.What = "the certificate of " + name + " has expired or is not valid yet"
		fault.Hint = "renew it at the PBX, and check the clocks of both machines"
	case errors.As(err, &record), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		fault.What = name + " does not speak TLS on this port"
		fault.Hint = "check the port of the target (5061 as a rule) and the PBX's TLS transport"
	case isAlert(err) && errors.As(err, &alert):
		fault.What = name + " refuses the connection: " + alert.Err.Error()
		fault.Hint = "if the PBX wants a client certificate that it knows, name it in the trunk's tls.cert and tls.key; it must speak TLS 1.2 or later"
	}
	return fault
}

// isAlert tells whether the far end said by TLS why it ends the connection.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// namesOf lists whom a certificate is for.
func namesOf(c *x509.Certificate) string {
	const most = 5
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "nobody: it has no subjectAltName"
	case len(names) > most:
		names = append(names[:most], "others")
	}
	return printable(strings.Join(names, ", "), maxText)
}
