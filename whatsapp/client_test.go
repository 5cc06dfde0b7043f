package whatsapp

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wagate/config"
)

// newClient returns a client of a Graph API that handler plays.
func newClient(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return clientFor(t, srv.URL+"/")
}

func clientFor(t *testing.T, url string) *Client {
	t.Helper()
	c := NewClient(config.WhatsApp{GraphURL: url, GraphVersion: "v26.0"},
		config.Number{Name: "support", PhoneNumberID: ourID, AccessToken: "tok-9f"}, NewMetrics(nil),
		slog.New(slog.DiscardHandler))
	t.Cleanup(c.Close)
	return c
}

// Every request, byte by byte.
func TestRequests(t *testing.T) {
	const sdp = "v=0\r\na=x <&>\r\n"
	for name, c := range map[string]struct {
		call   func(ctx context.Context, c *Client) error
		answer string
		want   string // body
	}{
		"pre_accept": {
			func(ctx context.Context, c *Client) error { return c.PreAccept(ctx, "wacid.a=", sdp) },
			`{"messaging_product":"whatsapp","success":true}`,
			`{"messaging_product":"whatsapp","call_id":"wacid.a=","action":"pre_accept",
				"session":{"sdp_type":"answer","sdp":"v=0\r\na=x <&>\r\n"}}`,
		},
		"accept": {
			func(ctx context.Context, c *Client) error { return c.Accept(ctx, "wacid.a", sdp, "leg=1") },
			`{"success":true}`,
			`{"messaging_product":"whatsapp","call_id":"wacid.a","action":"accept",
				"session":{"sdp_type":"answer","sdp":"v=0\r\na=x <&>\r\n"},"biz_opaque_callback_data":"leg=1"}`,
		},
		"accept without tag": {
			func(ctx context.Context, c *Client) error { return c.Accept(ctx, "wacid.a", sdp, "") },
			``,
			`{"messaging_product":"whatsapp","call_id":"wacid.a","action":"accept",
				"session":{"sdp_type":"answer","sdp":"v=0\r\na=x <&>\r\n"}}`,
		},
		"reject": {
			func(ctx context.Context, c *Client) error { return c.Reject(ctx, "wacid.a") },
			`{"success":true}`,
			`{"messaging_product":"whatsapp","call_id":"wacid.a","action":"reject"}`,
		},
		"terminate": {
			func(ctx context.Context, c *Client) error { return c.Terminate(ctx, "wacid.a") },
			`{"success":true}`,
			`{"messaging_product":"whatsapp","call_id":"wacid.a","action":"terminate"}`,
		},
		"connect": {
			func(ctx context.Context, c *Client) error {
				id, err := c.Connect(ctx, Callee{Number: "+34611223344", UserID: "ES.1"}, sdp, "leg=2")
				if err == nil && id != "wacid.new" {
					t.Errorf("connect: got id %q", id)
				}
				return err
			},
			`{"messaging_product":"whatsapp","calls":[{"id":"wacid.new"}]}`,
			`{"messaging_product":"whatsapp","to":"34611223344","recipient":"ES.1","action":"connect",
				"session":{"sdp_type":"offer","sdp":"v=0\r\na=x <&>\r\n"},"biz_opaque_callback_data":"leg=2"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			client := newClient(t, func(rw http.ResponseWriter, r *http.Request) {
				got, _ = io.ReadAll(r.Body)
				if r.Method != http.MethodPost || r.URL.String() != "/v26.0/"+ourID+"/calls" {
					t.Errorf("got %s %s", r.Method, r.URL)
				}
				if r.Header.Get("Authorization") != "Bearer tok-9f" || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("headers %v", r.Header)
				}
				_, _ = io.WriteString(rw, c.answer)
			})
			if err := c.call(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			var have, want any
			if err := errors.Join(json.Unmarshal(got, &have), json.Unmarshal([]byte(c.want), &want)); err != nil {
				t.Fatal(err)
			}
			h, _ := json.Marshal(have)
			w, _ := json.Marshal(want)
			if string(h) != string(w) {
				t.Errorf("got  %s\nwant %s", h, w)
			}
		})
	}
}

func TestPhoneNumber(t *testing.T) {
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/v26.0/"+ourID || strings.Contains(r.URL.RawQuery, "tok-9f") {
			t.Errorf("got %s %s", r.Method, r.URL)
		}
	})
	if err := client.PhoneNumber(t.Context()); err != nil {
		t.Error(err)
	}
}

// What is known of a request's effect, for every way in which it can go wrong.
func TestEffects(t *testing.T) {
	hangUp := func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	graph := func(status int, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, body)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    string // unknown, refused or ok
		res     result
	}{
		"hung up after the request": {hangUp, "unknown", resUnknown},
		"bad gateway":               {graph(502, "<html>"), "unknown", resUnknown},
		"server error by the API":   {graph(500, `{"error":{"code":138007}}`), "refused", resRefused},
		"refused":                   {graph(401, `{"error":{"code":138006}}`), "refused", resRefused},
		"gone":                      {graph(400, `{"error":{"code":100,"error_data":{"details":"Call already ended"}}}`), "refused", resGone},
		"refused without words":     {graph(403, ``), "refused", resRefused},
		"redirect": {func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "refused", resRefused},
		"success is false":              {graph(200, `{"success":false}`), "refused", resRefused},
		"200 that is not the API's":     {graph(200, `<html>`), "unknown", resUnknown},
		"accepted without words":        {graph(200, ``), "ok", resOK},
		"accepted, endless answer":      {graph(200, strings.Repeat(" ", 4*maxAnswer)), "ok", resOK},
		"accepted, answer cut short":    {hangUpLater, "ok", resOK},
		"refused with an endless error": {graph(400, strings.Repeat(" ", 4*maxAnswer)), "refused", resRefused},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			client := newClient(t, func(rw http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				c.handler(rw, r)
			})
			err := client.Terminate(t.Context(), "wacid.a")
			var refusal *APIError
			kind := "other"
			switch {
			case err == nil:
				kind = "ok"
			case errors.Is(err, ErrUnknown):
				kind = "unknown"
			case errors.As(err, &refusal):
				kind = "refused"
			}
			if kind != c.kind || !Sent(err) {
				t.Errorf("got %s (%v), sent %v, want %s", kind, err, Sent(err), c.kind)
			}
			if n := value(t, client.metrics.graph[actTerminate][c.res]); n != 1 {
				t.Errorf("outcome %s counted %v times", resultNames[c.res], n)
			}
			if n := requests.Load(); n != 1 {
				t.Errorf("%d requests were made, want 1", n)
			}
		})
	}
}

// hangUpLater says yes and leaves in the middle of the words.
func hangUpLater(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Length", "9")
	_, _ = io.WriteString(rw, "{")
	_ = http.NewResponseController(rw).Flush()
	panic(http.ErrAbortHandler)
}

// A connect that was accepted but tells no id must not be repeated.
func TestConnectWithoutID(t *testing.T) {
	for _, answer := range []string{``, `{"success":true}`, `{"calls":[]}`, `{"calls":[{}]}`, `{"calls":[{"id":7}]}`} {
		client := newClient(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, answer) })
		if id, err := client.Connect(t.Context(), Callee{Number: "1"}, "", ""); !errors.Is(err, ErrUnknown) || !Sent(err) {
			t.Errorf("answer %q: got %q, %v", answer, id, err)
		}
	}
}

func TestNotSent(t *testing.T) {
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	foreign := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	foreign.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	foreign.StartTLS()
	defer foreign.Close()
	for name, url := range map[string]string{
		"nobody listens":         "http://" + closed.Addr().String(),
		"no such host":           "http://host.invalid",
		"not TLS":                strings.Replace(plain.URL, "http:", "https:", 1),
		"certificate of a thief": foreign.URL,
		"not a URL":              "http://[::1",
	} {
		c := clientFor(t, url)
		_, err := c.Connect(t.Context(), Callee{Number: "1"}, "", "")
		if !errors.Is(err, ErrNotSent) || Sent(err) || errors.Is(err, ErrUnknown) {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "tok-9f") {
			t.Errorf("%s: the error tells the token", name)
		}
	}
	c := clientFor(t, plain.URL)
	if _, err := c.Connect(t.Context(), Callee{}, "", strings.Repeat("x", maxTag+1)); !errors.Is(err, ErrNotSent) {
		t.Errorf("long tag: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Accept(ctx, "wacid.a", "", ""); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("given up before: got %v", err)
	}
}

// A caller that gives up while Meta thinks does not know the effect.
func TestGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	if err := client.Accept(ctx, "wacid.a", "", ""); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A kept connection that Meta closed meanwhile: what was not written may go out
// again on a new one, what was written may not.
func TestKeptConnectionDies(t *testing.T) {
	var requests atomic.Int32
	client := newClient(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1) == 2 {
			conn, _, _ := http.NewResponseController(rw).Hijack()
			_ = conn.Close()
		}
	})
	if err := client.Terminate(t.Context(), "wacid.a"); err != nil {
		t.Fatal(err)
	}
	if err := client.Terminate(t.Context(), "wacid.a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

// transport answers without a network and notes what it was asked.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestLimits(t *testing.T) {
	c := clientFor(t, "http://graph.invalid")
	var left time.Duration
	var via string
	watch := func(name string) transport {
		return func(r *http.Request) (*http.Response, error) {
			deadline, _ := r.Context().Deadline()
			left, via = time.Until(deadline), name
			return nil, io.EOF
		}
	}
	c.calls.Transport, c.ends.Transport = watch("calls"), watch("ends")
	ctx := t.Context()
	for name, s := range map[string]struct {
		call  func() error
		limit time.Duration
		via   string
	}{
		"connect": {func() error {
			_, err := c.Connect(ctx, Callee{}, "", "")
			return err
		}, connectLimit, "calls"},
		"pre_accept": {func() error { return c.PreAccept(ctx, "a", "") }, answerLimit, "calls"},
		"accept":     {func() error { return c.Accept(ctx, "a", "", "") }, answerLimit, "calls"},
		"reject":     {func() error { return c.Reject(ctx, "a") }, endLimit, "ends"},
		"terminate":  {func() error { return c.Terminate(ctx, "a") }, endLimit, "ends"},
	} {
		if err := s.call(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if left > s.limit || left < s.limit-time.Second || via != s.via {
			t.Errorf("%s: %v by %s, want %v by %s", name, left, via, s.limit, s.via)
		}
	}
}

func TestTransport(t *testing.T) {
	c := clientFor(t, "http://graph.invalid")
	calls, ends := c.calls.Transport.(*http.Transport), c.ends.Transport.(*http.Transport)
	if calls == ends {
		t.Error("ends share the connections of calls")
	}
	for _, tr := range []*http.Transport{calls, ends} {
		if tr.Proxy != nil || tr.TLSClientConfig.MinVersion < tls.VersionTLS12 || tr.TLSClientConfig.InsecureSkipVerify ||
			tr.ForceAttemptHTTP2 || tr.TLSNextProto == nil {
			t.Errorf("transport %+v", tr)
		}
	}
}

// Two calls at once do not wait for each other.
func TestConcurrent(t *testing.T) {
	both := make(chan struct{}, 2)
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
		both <- struct{}{}
		for len(both) < cap(both) && r.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
	})
	errs := make(chan error, 2)
	for range 2 {
		go func() { errs <- client.Accept(t.Context(), "wacid.a", "", "") }()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
