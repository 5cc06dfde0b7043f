// Package whatsapp speaks the calling part of the WhatsApp Cloud API: requests
// to the Graph API, and signed webhooks from it. It knows what Meta says and
// nothing of what a call is good for. It never repeats a request by itself: its
// caller knows better whether that is safe. It does refuse to make one, while
// those like it fail or Meta wants a pause.
package whatsapp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"wagate/config"
)

// How long one try may take; a caller's ctx may make it shorter.
const (
	connectLimit = 5 * time.Second
	answerLimit  = 3 * time.Second
	endLimit     = 2 * time.Second
	lookLimit    = 5 * time.Second
)

const (
	maxAnswer = 64 << 10 // bytes read of an answer
	maxTag    = 512      // characters of biz_opaque_callback_data
)

// Client makes the requests of one business number. Its methods may be called
// from anywhere. Their errors are *APIError for a refusal, and else wrap
// ErrNotSent or ErrUnknown; a *BarredError is an ErrNotSent.
type Client struct {
	url     string // of the number
	token   atomic.Pointer[config.Secret]
	metrics *Metrics
	log     *slog.Logger
	guard   *guard
	told    func(ofCall bool, err error) // nil: nobody wants to know
	calls   *http.Client
	ends    *http.Client // a stuck connect must not keep calls open
}

// NewClient returns a client for one of our numbers. It opens connections only
// when they are needed; Close closes the idle ones.
func NewClient(w config.WhatsApp, n config.Number, m *Metrics, log *slog.Logger) *Client {
	names := newCaller() // both use what one has learned
	c := &Client{
		url:     urlOf(w, n),
		metrics: m,
		log:     log.With(slog.String("number", n.Name)),
		guard:   newGuard(m, n.Name),
		calls:   newHTTP(names),
		ends:    newHTTP(names),
	}
	c.Renew(n.AccessToken)
	return c
}

func urlOf(w config.WhatsApp, n config.Number) string {
	return strings.TrimRight(w.GraphURL, "/") + "/" + url.PathEscape(w.GraphVersion) + "/" + url.PathEscape(n.PhoneNumberID)
}

// Serves says whether the client is one for this number, but for the token.
func (c *Client) Serves(w config.WhatsApp, n config.Number) bool { return c.url == urlOf(w, n) }

// Renew changes the token of all requests to come.
func (c *Client) Renew(token config.Secret) { c.token.Store(&token) }

// Watch tells f what became of every request that was made: whether it was one
// that sets up a call, and its error. It must be set before the first request,
// and f must not block.
func (c *Client) Watch(f func(ofCall bool, err error)) { c.told = f }

// Reachable returns nil if a call of a customer may be answered now, as far as
// one knows, and else a *BarredError.
func (c *Client) Reachable() error { return c.guard.reachable(classAnswer) }

// Throttled returns how long Meta wants no further request, 0 if it does not say
// so.
func (c *Client) Throttled() time.Duration { return c.guard.throttled() }

// newHTTP returns a client with connections of its own, HTTP/1 only: one stuck
// connection then holds up one request.
func newHTTP(names *caller) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // never from the environment
			DialContext:            names.dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    2 * time.Second,
			TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
			MaxIdleConns:           32,
			MaxIdleConnsPerHost:    32,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close closes idle connections.
func (c *Client) Close() {
	c.calls.CloseIdleConnections()
	c.ends.CloseIdleConnections()
}

// request is the body of every action on a call.
type request struct {
	Product   string   `json:"messaging_product"`
	To        string   `json:"to,omitempty"`
	Recipient string   `json:"recipient,omitempty"`
	CallID    CallID   `json:"call_id,omitempty"`
	Action    string   `json:"action"`
	Session   *session `json:"session,omitempty"`
	Tag       string   `json:"biz_opaque_callback_data,omitempty"`
}

type session struct {
	Type string `json:"sdp_type"`
	SDP  string `json:"sdp"`
}

// PreAccept gives Meta our answer while the PBX still rings, so that media is
// up when the call is accepted. Meta treats it as optional.
func (c *Client) PreAccept(ctx context.Context, id CallID, answer string) error {
	_, err := c.post(ctx, actPreAccept, request{CallID: id, Session: &session{"answer", answer}})
	return err
}

// Accept answers a customer's call. answer must be the bytes of PreAccept. tag
// comes back in the terminate webhook; empty leaves it out. Media may flow when
// Accept has returned nil.
func (c *Client) Accept(ctx context.Context, id CallID, answer, tag string) error {
	_, err := c.post(ctx, actAccept, request{CallID: id, Session: &session{"answer", answer}, Tag: tag})
	return err
}

// Reject refuses a customer's call that was not answered.
func (c *Client) Reject(ctx context.Context, id CallID) error {
	_, err := c.post(ctx, actReject, request{CallID: id})
	return err
}

// Terminate ends a call, or one that is ringing at the customer.
func (c *Client) Terminate(ctx context.Context, id CallID) error {
	_, err := c.post(ctx, actTerminate, request{CallID: id})
	return err
}

// Callee is whom we call: by number, digits with or without a plus, or by
// business-scoped id. The number wins when both are given.
type Callee struct {
	Number string
	UserID string
}

// Connect calls a customer. tag comes back in every webhook of the call, which
// may arrive before Connect returns. After an ErrUnknown the call may exist.
func (c *Client) Connect(ctx context.Context, to Callee, offer, tag string) (CallID, error) {
	body, err := c.post(ctx, actConnect, request{
		To:        strings.TrimPrefix(to.Number, "+"),
		Recipient: to.UserID,
		Session:   &session{"offer", offer},
		Tag:       tag,
	})
	if err != nil {
		return "", err
	}
	var answer struct {
		Calls []struct {
			ID CallID `json:"id"`
		} `json:"calls"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("connect call: read answer: %w: %w", ErrUnknown, err)
	}
	if len(answer.Calls) == 0 || answer.Calls[0].ID == "" {
		return "", fmt.Errorf("connect call: answer has no call id: %w", ErrUnknown)
	}
	return answer.Calls[0].ID, nil
}

// PhoneNumber asks Meta for the number itself: the token, the id and the way
// there are then known to work.
func (c *Client) PhoneNumber(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	_, err := c.do(ctx, c.calls, actNumber, http.MethodGet, c.url+"?fields=id", nil)
	return err
}

func (c *Client) post(ctx context.Context, a action, r request) ([]byte, error) {
	r.Product, r.Action = "whatsapp", a.String()
	if len(r.Tag) > maxTag {
		return nil, fmt.Errorf("%s call: tag of %d bytes: %w", a, len(r.Tag), ErrNotSent)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("%s call: %w: %w", a, ErrNotSent, err)
	}
	limit, client := answerLimit, c.calls
	switch a {
	case actConnect:
		limit = connectLimit
	case actReject, actTerminate:
		limit, client = endLimit, c.ends
	case actPreAccept, actAccept, actNumber, actAsk, actPermissions, actions:
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.do(ctx, client, a, http.MethodPost, c.url+"/calls", body)
}

// do makes one request, if nothing bars it, counts it, and names what is known
// of its effect.
func (c *Client) do(ctx context.Context, client *http.Client, a action, method, url string, body []byte) ([]byte, error) {
	x := Exchange{Sent: time.Now(), Action: a.String(), Method: method, Path: pathOf(url), Request: body}
	passed, err := c.guard.enter(a, ctx.Value(againKey{}) != nil)
	if err != nil {
		x.Done, x.Err = x.Sent, err
		trace(ctx, x)
		return nil, fmt.Errorf("%s call: %w", a, err)
	}
	answer, err := c.exchange(ctx, client, a, url, &x)
	x.Done, x.Err = time.Now(), err
	c.guard.leave(passed, err)
	if c.told != nil {
		c.told(passed.class == classConnect || passed.class == classAnswer, err)
	}
	c.metrics.seconds[a].Observe(x.Done.Sub(x.Sent).Seconds())
	c.metrics.graph[a][c.count(err)].Inc()
	trace(ctx, x)
	if err != nil {
		return nil, fmt.Errorf("%s call: %w", a, err)
	}
	return answer, nil
}

func (c *Client) count(err error) result {
	var refusal *APIError
	if errors.As(err, &refusal) && refusal.Code != 0 {
		c.metrics.metaError(refusal.Code)
	}
	switch {
	case err == nil:
		return resOK
	case errors.Is(err, ErrNotSent):
		return resNotSent
	case errors.Is(err, ErrUnknown):
		return resUnknown
	case refusal != nil && refusal.Gone():
		return resGone
	}
	return resRefused
}

// pathOf is a URL without its host.
func pathOf(full string) string {
	u, err := url.Parse(full)
	if err != nil {
		return ""
	}
	return u.RequestURI()
}

// exchange makes the request of x, notes in it what came, and returns the body
// of a good answer.
func (c *Client) exchange(ctx context.Context, client *http.Client, a action, url string, x *Exchange) ([]byte, error) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// The transport asks for another connection only when nothing was
		// written to the one before.
		GetConn:      func(string) { sent.Store(false) },
		WroteHeaders: func() { sent.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, x.Method, url, bytes.NewReader(x.Request))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Load().Reveal())
	req.Header.Set("User-Agent", "wagate")
	if x.Method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		if sent.Load() {
			return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	defer func() { _ = resp.Body.Close() }()
	c.metrics.clock.note(resp.Header.Get("Date"), x.Sent, time.Now(), c.log)
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	x.Status, x.Answer = resp.StatusCode, answer
	if resp.StatusCode/100 != 2 {
		e := parseError(resp.StatusCode, resp.Header, answer, time.Now())
		e.Message, e.Details = hush(e.Message, *c.token.Load()), hush(e.Details, *c.token.Load())
		return nil, e
	}
	switch {
	case err != nil && a.tells():
		return nil, fmt.Errorf("%w: read answer: %w", ErrUnknown, err)
	case err != nil: // Meta has accepted, and nobody needs the words
		c.log.Debug("graph answer cut short", slog.Any("error", err))
	}
	if words := bytes.TrimSpace(answer); len(words) > 0 && words[0] != '{' {
		return nil, fmt.Errorf("%w: the answer is not the API's", ErrUnknown) // somebody between us and Meta spoke
	}
	var flag struct {
		Success *bool `json:"success"`
	}
	if json.Unmarshal(answer, &flag) == nil && flag.Success != nil && !*flag.Success {
		return nil, &APIError{Status: resp.StatusCode, Message: "success is false"}
	}
	return answer, nil
}
