package sip

import "time"

// CertificateEnds says until when the certificate of the tls:// listeners is
// good; zero: there is none.
func (s *Server) CertificateEnds() time.Time {
	identity := s.identity.Load()
	if identity == nil {
		return time.Time{}
	}
	return identity.Certificates[0].Leaf.NotAfter
}
