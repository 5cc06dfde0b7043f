package sip

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	sipmsg "github.com/emiago/sipgo/sip"

	"wagate/config"
)

// pbx is a PBX made of somebody else's stack.
type pbx struct {
	dialogs *sipgo.DialogUA
	client  *sipgo.Client
	addr    string
	answer  atomic.Pointer[answering]
	hungup  chan struct{}
	acked   chan struct{}
	session chan *sipgo.DialogServerSession
}

// answering is what the PBX does with a call.
type answering func(*sipgo.DialogServerSession, sipmsg.ServerTransaction)

// newPBX listens on proto, "udp" or "tcp", on loopback.
func newPBX(t *testing.T, proto string) *pbx {
	t.Helper()
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("strange"), sipgo.WithUserAgentTransportLayerOptions(sipmsg.WithTransportLayerLogger(logger())),
		sipgo.WithUserAgentTransactionLayerOptions(sipmsg.WithTransactionLayerLogger(logger())))
	if err != nil {
		t.Fatal(err)
	}
	server, err := sipgo.NewServer(ua, sipgo.WithServerLogger(logger()))
	if err != nil {
		t.Fatal(err)
	}
	b := &pbx{hungup: make(chan struct{}, 10), acked: make(chan struct{}, 10), session: make(chan *sipgo.DialogServerSession, 10)}
	var serve func() error
	var c io.Closer
	var lc net.ListenConfig
	if proto == "udp" {
		pc, err := lc.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b.addr, c = pc.LocalAddr().String(), pc
		serve = func() error { return server.ServeUDP(pc) }
	} else {
		l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b.addr, c = l.Addr().String(), l
		serve = func() error { return server.ServeTCP(l) }
	}
	t.Cleanup(func() { ua.Close() })
	host, port, _ := sipmsg.ParseAddr(b.addr)
	if b.client, err = sipgo.NewClient(ua, sipgo.WithClientHostname(host), sipgo.WithClientPort(port), sipgo.WithClientConnectionAddr(b.addr), sipgo.WithClientLogger(logger())); err != nil {
		t.Fatal(err)
	}
	contact := sipmsg.Uri{User: "phone", Host: host, Port: port}
	if proto == "tcp" {
		contact.UriParams.Add("transport", "tcp")
	}
	b.dialogs = &sipgo.DialogUA{Client: b.client, ContactHDR: sipmsg.ContactHeader{Address: contact}}
	server.OnInvite(func(req *sipmsg.Request, tx sipmsg.ServerTransaction) {
		d, err := b.dialogs.ReadInvite(req, tx)
		if err != nil {
			t.Errorf("invite: %v", err)
			return
		}
		b.session <- d
		(*b.answer.Load())(d, tx)
	})
	server.OnAck(func(req *sipmsg.Request, tx sipmsg.ServerTransaction) {
		select {
		case d := <-b.session:
			if err := d.ReadAck(req, tx); err != nil {
				t.Errorf("ack: %v", err)
			}
			b.session <- d
		default:
		}
		b.acked <- struct{}{}
	})
	server.OnBye(func(req *sipmsg.Request, tx sipmsg.ServerTransaction) {
		tx.Respond(sipmsg.NewResponseFromRequest(req, 200, "OK", nil))
		b.hungup <- struct{}{}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serve() // its map of handlers must be complete by now
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return b
}

func took(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("no %s", what)
	}
}

func TestCallsWithAnotherStack(t *testing.T) {
	for _, proto := range []string{"udp", "tcp"} {
		t.Run(proto, func(t *testing.T) {
			b := newPBX(t, proto)
			target := "sip:" + b.addr + ";transport=" + proto
			s := serverOn(t, defaultTiming(), []string{proto + "://127.0.0.1:0"}, config.Trunk{Name: "pbx", Targets: []config.Target{{URI: target}}})
			serve(t, s, func(c *Session, _ Incoming) { c.Refuse(480, Reason{}, 0) })
			o := call()
			o.Target = target
			place := func() (*Session, *events) {
				e := newEvents(t)
				c, err := s.Prepare(o, e.notify)
				if err != nil {
					t.Fatal(err)
				}
				c.Start()
				return c, e
			}

			pickUp := answering(func(d *sipgo.DialogServerSession, _ sipmsg.ServerTransaction) {
				d.Respond(180, "Ringing", nil)
				if err := d.RespondSDP([]byte("v=0 pbx")); err != nil {
					t.Errorf("answer: %v", err)
				}
			})
			b.answer.Store(&pickUp)
			c, e := place()
			next[Ringing](e)
			if got := next[Accepted](e); string(got.SDP) != "v=0 pbx" {
				t.Errorf("accepted with %q", got.SDP)
			}
			took(t, "ACK", b.acked)
			<-b.session
			c.Bye(Reason{Q850: 16})
			took(t, "BYE", b.hungup)
			next[ByeDone](e)

			c, e = place() // and they hang up
			next[Ringing](e)
			next[Accepted](e)
			took(t, "ACK", b.acked)
			d := <-b.session
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := d.Bye(ctx); err != nil {
				t.Errorf("their bye: %v", err)
			}
			next[Hungup](e)
			_ = c

			ringing := make(chan struct{})
			ring := answering(func(d *sipgo.DialogServerSession, tx sipmsg.ServerTransaction) {
				d.Respond(180, "Ringing", nil)
				close(ringing)
				<-tx.Done()
			})
			b.answer.Store(&ring)
			c, e = place()
			next[Ringing](e)
			<-ringing
			c.Cancel(Reason{Q850: 16})
			if got := next[Refused](e); got.Status != 487 {
				t.Errorf("refused with %d", got.Status)
			}
			gone(t, s)
		})
	}
}
