package fakemeta

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Server is the simulated Meta.
type Server struct {
	opts     Options
	listener net.Listener
	http     *http.Server
	cert     tls.Certificate
	print    string // the certificate's fingerprint, as in a=fingerprint

	requests   *book[Request]
	deliveries *book[Delivery]
	violations *book[Violation]
	faults     faults
	upsets     upsets
	batch      batcher
	owed       owed
	ledger     *ledger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	hookURL string
	secret  string   // signs the webhooks
	tokens  []string // of the first number
	calls   map[string]*Customer
	order   []string      // ids, oldest first
	quiet   chan struct{} // closed and replaced when a call ends
	people  people
	rule    EndRule
	shared  *relay
}

// New binds the Graph API's listener; nothing is served before Start.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	cert, sum, err := newCertificate()
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the Graph API: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		opts: o, listener: ln, cert: cert, print: sum, ctx: ctx, cancel: cancel, hookURL: o.WebhookURL,
		secret: o.AppSecret, tokens: []string{o.Token},
		requests: newBook[Request](o.Keep), deliveries: newBook[Delivery](o.Keep), violations: newBook[Violation](o.Keep),
		calls: map[string]*Customer{}, quiet: make(chan struct{}), people: newPeople(), ledger: newLedger(o.Keep),
	}
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Start serves the Graph API until Close.
func (s *Server) Start() {
	s.spawn(func() { _ = s.http.Serve(s.listener) })
}

// URL is the Graph API's address, to be used as graph_url.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// SetWebhookURL changes where webhooks go from now on.
func (s *Server) SetWebhookURL(u string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hookURL = u
}

func (s *Server) webhookURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hookURL
}

// Close stops everything at once: no more webhooks leave, all media ends. It
// waits for every goroutine.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	calls := make([]*Customer, 0, len(s.calls))
	for _, c := range s.calls {
		calls = append(calls, c)
	}
	shared := s.shared
	s.mu.Unlock()
	s.cancel()
	err := s.http.Close()
	if lerr := s.listener.Close(); lerr != nil && !errors.Is(lerr, net.ErrClosed) {
		err = errors.Join(err, lerr)
	}
	for _, c := range calls {
		c.drop()
	}
	if shared != nil {
		shared.close()
	}
	s.wg.Wait()
	s.opts.Client.CloseIdleConnections()
	return err
}

// spawn starts a goroutine that Close waits for; after Close it starts none.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

// Verify asks the gateway's webhook the question that Meta asks when a callback
// URL is registered.
func (s *Server) Verify(ctx context.Context) error {
	challenge := strconv.Itoa(1e9 + time.Now().Nanosecond())
	q := url.Values{"hub.mode": {"subscribe"}, "hub.challenge": {challenge}, "hub.verify_token": {s.opts.VerifyToken}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.webhookURL()+"?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("verify webhook: %w", err)
	}
	resp, err := s.opts.Client.Do(req)
	if err != nil {
		return fmt.Errorf("verify webhook: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		return fmt.Errorf("verify webhook: %w", err)
	}
	if resp.StatusCode != http.StatusOK || string(body) != challenge {
		return fmt.Errorf("verify webhook: status %d and body %q, want 200 and the challenge", resp.StatusCode, body)
	}
	return nil
}

func (s *Server) number(id string) *Number {
	for i := range s.opts.Numbers {
		if s.opts.Numbers[i].ID == id {
			return &s.opts.Numbers[i]
		}
	}
	return nil
}

// random returns n letters and digits.
func random(n int) string { return (rand.Text() + rand.Text())[:n] }
