package fakemeta

import "slices"

// SetAppSecret changes what webhooks are signed with from now on.
func (s *Server) SetAppSecret(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = secret
}

func (s *Server) appSecret() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}

// SetTokens changes the bearer tokens with which the first business number may
// be used. None is left of those before.
func (s *Server) SetTokens(tokens ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = tokens
}

// opens says whether a token is good for a number.
func (s *Server) opens(token string, n *Number) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == &s.opts.Numbers[0] {
		return slices.Contains(s.tokens, token)
	}
	return n.Token == token
}
