package gateway

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/test/ether"
	"wagate/test/faketrunk"
	"wagate/whatsapp"
)

// How long things take in the world of a sweep, one way.
const (
	sipWay  = 20 * time.Millisecond
	metaWay = 15 * time.Millisecond
)

// sweep is a gateway in a bubble of fake time, with its store on disk, between
// the PBX of the end-to-end tests and a Meta of its own. Only audio is not there.
type sweep struct {
	t    *testing.T
	ctx  context.Context
	g    *Gateway
	pbx  *faketrunk.Trunk
	meta *sweptMeta
	work sync.WaitGroup
	line map[string]chan *faketrunk.Call // phones that ring, by the customer's number
	log  map[string][]*faketrunk.Message // of the PBX, by Call-ID; once all is over
}

const (
	sweptGateway = "127.0.0.1:5060"
	sweptPBX     = "127.0.0.1:5070"
)

// newSweep starts everything. The caller ends it.
func newSweep(t *testing.T, change func(c *config.Config)) (s *sweep, end func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s = &sweep{t: t, ctx: ctx, line: map[string]chan *faketrunk.Call{}}
	n := &ether.Net{Delay: sipWay}
	open := func(addr string) *ether.Conn { return n.Open(netip.MustParseAddrPort(addr)) }
	cfg := config.Default()
	cfg.Node, cfg.DataDir = "sweep", t.TempDir()
	cfg.WhatsApp.AppSecrets, cfg.WhatsApp.VerifyToken = []config.Secret{"s"}, "v"
	cfg.WhatsApp.Numbers = []config.Number{{Name: "support", PhoneNumberID: "1", Number: "+351210000321", AccessToken: "t", Codecs: []string{"opus"}}}
	trunk := config.DefaultTrunk()
	trunk.Name, trunk.Targets, trunk.OptionsInterval = "pbx", []config.Target{{URI: "sip:" + sweptPBX}}, 0
	trunk.MaxCalls, trunk.MaxCPS = 1000, 1000
	cfg.Trunks = []config.Trunk{trunk}
	cfg.Routes = []config.Route{
		{Name: "in", Direction: inbound, Trunk: "pbx", To: "600", RingTimeout: 28 * time.Second},
		{Name: "out", Direction: outbound, Match: config.Match{Trunk: "pbx"}, Number: config.Names{"support"}, Countries: []string{"ES"}, RingTimeout: 45 * time.Second},
	}
	if change != nil {
		change(cfg)
	}
	var err error
	s.g = newGateway(slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if s.g.store, err = store.Open(ctx, cfg.DataDir, nil, s.g.log); err != nil {
		t.Fatal(err)
	}
	if s.g.sip, err = sip.NewOn(cfg.SIP, cfg.Trunks, s.g.log, nil, open(sweptGateway)); err != nil {
		t.Fatal(err)
	}
	if err = s.g.assemble(cfg, prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	s.meta = newSweptMeta(s.news)
	e := s.g.current.Load().env
	e.audio = sweptAudio{&fakeAudio{ledger: &ledger{}, connect: true}}
	e.graph = func(string) graph { return s.meta }
	e.allowed, e.talked = func(context.Context, order) error { return nil }, func(order, store.Record) {}
	s.g.permissions.graph = func(string) asker { return nil } // nobody to ask but the ledger
	s.g.reaper.ender = func(string) graphEnder { return s.meta }
	s.work.Go(func() { _ = s.g.sip.Serve(ctx, s.g.incoming) })
	s.work.Go(func() { s.g.reaper.run(ctx) })
	if s.pbx, err = faketrunk.Start(ctx, faketrunk.Options{Socket: open(sweptPBX)}); err != nil {
		t.Fatal(err)
	}
	return s, func() {
		stop()
		s.work.Wait()
		s.g.calls.Wait()
		s.g.background.Wait()
		for _, err := range []error{s.pbx.Close(), s.g.sip.Close(), s.g.store.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// news is a webhook. The ledger of permissions does not hear of it: it has no
// part in any race, and would be most of the work.
func (s *sweep) news(ev whatsapp.Event) {
	if offer, ok := ev.(whatsapp.Offer); ok {
		s.g.offered(offer)
		return
	}
	s.g.news(ev)
}

// expect makes room for a customer's calls and phones.
func (s *sweep) expect(user string) {
	s.line[user] = make(chan *faketrunk.Call, 2)  // the phone, and one in its place
	s.meta.dialed[user] = make(chan *metaCall, 1) // there is one
}

// connect hands each phone that rings to the call that it rings for.
func (s *sweep) connect() {
	for {
		phone, err := s.pbx.Next(s.ctx)
		if err != nil {
			return
		}
		user, _, _ := strings.Cut(strings.TrimPrefix(phone.Invite().Get("From")[strings.Index(phone.Invite().Get("From"), "sip:")+4:], "+"), "@")
		s.line[user] <- phone
	}
}

// swept is one call of a sweep.
type swept struct {
	*sweep
	at       time.Duration // of what is swept, counted like fixed
	began    time.Time
	customer *metaCall
	phone    *faketrunk.Call // that rings for the customer, or calls the customer
	next     *faketrunk.Call // that takes its place
	referred int             // the answer to a REFER
}

// then does something at a moment of the call.
func (c *swept) then(at time.Duration, f func()) {
	c.work.Add(1)
	time.AfterFunc(time.Until(c.began.Add(at)), func() {
		defer c.work.Done()
		f()
	})
}

func (c *swept) customerLeaves() { c.meta.leave(c.customer) }
func (c *swept) phoneLeaves()    { _ = c.phone.Hangup(c.ctx) } // however it ends, the books tell
func (c *swept) phoneAnswers()   { _ = c.phone.Answer() }      // unless it was cancelled
func (c *swept) phoneHolds()     { _, _ = c.phone.Reinvite(c.ctx, faketrunk.SendOnly) }

func (c *swept) phoneRefers() {
	res, err := c.phone.Request(c.ctx, "REFER", []faketrunk.Header{
		{Name: "Contact", Value: "<sip:phone@" + sweptPBX + ";transport=udp>"}, {Name: "Refer-To", Value: "<sip:601@" + sweptPBX + ">"},
	}, nil)
	if err == nil {
		c.referred = res.Status
	}
}

// calls lets the customer call, and waits for the phone.
func (c *swept) calls() {
	c.customer = c.meta.call(c.user())
	c.phone = await(c, c.line)
}

// await waits for what is next for the customer of a call.
func await[T any](c *swept, from map[string]chan T) (next T) {
	select {
	case next = <-from[c.user()]:
	case <-c.ctx.Done():
		runtime.Goexit() // the test has failed by then
	}
	return next
}

// dials lets a phone call the customer, whose phone then rings.
func (c *swept) dials(headers ...faketrunk.Header) {
	c.phone = c.dial("sip:+"+c.user()+"@"+sweptGateway, headers...)
	c.customer = await(c, c.meta.dialed)
}

func (c *swept) dial(uri string, headers ...faketrunk.Header) *faketrunk.Call {
	c.t.Helper()
	phone, err := c.pbx.Dial(c.ctx, faketrunk.Outgoing{To: uri, From: "201", Headers: headers})
	if err != nil {
		c.t.Error(err)
	}
	return phone
}

// user is the customer's number: another one for every moment.
func (c *swept) user() string { return strconv.FormatInt(34_600_100_000+c.at.Milliseconds(), 10) }

// heard is when the gateway got the first request of a phone's, by method, or
// its 200 to an INVITE.
func (c *swept) heard(phone *faketrunk.Call, what string) time.Time {
	if phone == nil {
		return time.Time{}
	}
	for _, m := range c.log[phone.ID()] {
		_, method := m.CSeq()
		if !m.In && (m.Method == what || what == "200" && m.Status == 200 && method == "INVITE") {
			return m.At.Add(sipWay)
		}
	}
	return time.Time{}
}

// sweptAudio makes ends that describe themselves and hear nothing.
type sweptAudio struct{ *fakeAudio }

func (a sweptAudio) Socket(o media.SocketOptions) (socket, error) {
	s, err := a.fakeAudio.Socket(o)
	return sweptSocket{s}, err
}

type sweptSocket struct{ socket }

const sweptSDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"

func (sweptSocket) Offer() []byte                  { return []byte(sweptSDP) }
func (sweptSocket) Answer([]byte) ([]byte, error)  { return []byte(sweptSDP), nil }
func (sweptSocket) Reoffer([]byte) ([]byte, error) { return []byte(sweptSDP), nil }
