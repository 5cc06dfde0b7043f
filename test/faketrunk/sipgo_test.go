package faketrunk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	sipmsg "github.com/emiago/sipgo/sip"
)

const strangerSDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"

// stranger is a SIP stack that shares no code with the PBX.
func stranger(t *testing.T, dialled func(*sipgo.DialogServerSession)) (client *sipgo.DialogClientCache, addr string) {
	t.Helper()
	ua, err := sipgo.NewUA()
	must(t, err)
	srv, err := sipgo.NewServer(ua)
	must(t, err)
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	port := conn.LocalAddr().(*net.UDPAddr).Port
	cl, err := sipgo.NewClient(ua, sipgo.WithClientHostname("127.0.0.1"), sipgo.WithClientPort(port))
	must(t, err)
	contact := sipmsg.ContactHeader{Address: sipmsg.Uri{Scheme: "sip", User: "gw", Host: "127.0.0.1", Port: port}}
	client = sipgo.NewDialogClientCache(cl, contact)
	server := sipgo.NewDialogServerCache(cl, contact)
	srv.OnInvite(func(req *sipmsg.Request, tx sipmsg.ServerTransaction) {
		d, err := server.ReadInvite(req, tx)
		if err != nil {
			t.Error(err)
			return
		}
		dialled(d)
		<-tx.Done()
	})
	srv.OnAck(func(req *sipmsg.Request, tx sipmsg.ServerTransaction) { _ = server.ReadAck(req, tx) })
	srv.OnBye(func(req *sipmsg.Request, tx sipmsg.ServerTransaction) {
		if server.ReadBye(req, tx) != nil {
			_ = client.ReadBye(req, tx)
		}
	})
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.ServeUDP(conn) }()
	t.Cleanup(func() {
		_ = ua.Close()
		_ = conn.Close()
		<-served
	})
	return client, fmt.Sprintf("127.0.0.1:%d", port)
}

func uri(t *testing.T, pbx *Trunk) sipmsg.Uri {
	t.Helper()
	var u sipmsg.Uri
	must(t, sipmsg.ParseUri("sip:600@"+pbx.Addr().String(), &u))
	return u
}

func TestStrangerCallsAndHangsUp(t *testing.T) {
	pbx := start(t, Options{})
	pbx.Handle(func(*Message) Script {
		return Script{Answer: 50 * time.Millisecond, Auth: &Auth{Realm: "pbx", User: "gw", Password: "secret"}}
	})
	client, _ := stranger(t, nil)
	d, err := client.Invite(soon(t), uri(t, pbx), []byte(strangerSDP), sipmsg.NewHeader("Content-Type", "application/sdp"))
	must(t, err)
	defer d.Close()
	must(t, d.WaitAnswer(soon(t), sipgo.AnswerOptions{Username: "gw", Password: "secret"}))
	must(t, d.Ack(soon(t)))
	c, err := pbx.Next(soon(t))
	must(t, err)
	must(t, c.Wait(soon(t), Up))
	must(t, d.Bye(soon(t)))
	must(t, c.Wait(soon(t), Ended))
	clean(t, pbx)
}

func TestPhoneHangsUpOnAStranger(t *testing.T) {
	pbx := start(t, Options{})
	pbx.Handle(func(*Message) Script { return Script{Hangup: time.Millisecond} })
	client, _ := stranger(t, nil)
	d, err := client.Invite(soon(t), uri(t, pbx), []byte(strangerSDP), sipmsg.NewHeader("Content-Type", "application/sdp"))
	must(t, err)
	defer d.Close()
	must(t, d.WaitAnswer(soon(t), sipgo.AnswerOptions{}))
	must(t, d.Ack(soon(t)))
	c, err := pbx.Next(soon(t))
	must(t, err)
	must(t, c.Wait(soon(t), Ended))
	if c.EndedByThem() {
		t.Error("the phone hung up, the books say the other side")
	}
	clean(t, pbx)
}

func TestStrangerCancels(t *testing.T) {
	pbx := start(t, Options{})
	pbx.Handle(func(*Message) Script { return NoAnswer() })
	client, _ := stranger(t, nil)
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	d, err := client.Invite(ctx, uri(t, pbx), []byte(strangerSDP), sipmsg.NewHeader("Content-Type", "application/sdp"))
	must(t, err)
	defer d.Close()
	err = d.WaitAnswer(ctx, sipgo.AnswerOptions{OnResponse: func(res *sipmsg.Response) error {
		if res.StatusCode == 180 {
			cancel()
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c, err := pbx.Next(soon(t))
	must(t, err)
	must(t, c.Wait(soon(t), Ended))
	if !c.Is(Cancelled) || c.Status() != 487 {
		t.Errorf("cancelled %v, status %d", c.Is(Cancelled), c.Status())
	}
	clean(t, pbx)
}

func TestPhoneCallsAStranger(t *testing.T) {
	pbx := start(t, Options{})
	acked := make(chan struct{})
	_, addr := stranger(t, func(d *sipgo.DialogServerSession) {
		defer close(acked)
		_ = d.Respond(180, "Ringing", nil)
		if err := d.RespondSDP([]byte(strangerSDP)); err != nil {
			t.Error(err)
		}
	})
	c, err := pbx.Dial(soon(t), Outgoing{To: "sip:+34600111222@" + addr})
	must(t, err)
	must(t, c.Wait(soon(t), Up))
	<-acked
	must(t, c.Hangup(soon(t)))
	if !c.Is(Rung) || c.Status() != 200 {
		t.Errorf("rung %v, status %d", c.Is(Rung), c.Status())
	}
	clean(t, pbx)
}
