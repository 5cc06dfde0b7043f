package gateway

import (
	"context"
	"net/netip"

	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// What a call needs of the four packages around it, and nothing more.

// graph is the Graph API of one business number.
type graph interface {
	graphEnder
	PreAccept(ctx context.Context, id whatsapp.CallID, answer string) error
	Accept(ctx context.Context, id whatsapp.CallID, answer, tag string) error
	Connect(ctx context.Context, to whatsapp.Callee, offer, tag string) (whatsapp.CallID, error)
}

// trunks places calls at the PBX.
type trunks interface {
	Targets(trunk string) []string
	Address(trunk, target string) netip.Addr
	Prepare(o sip.Outgoing, notify func(sip.Event)) (session, error)
}

// session is one INVITE of ours and the dialog that comes of it. No method
// waits for the far end.
type session interface {
	referrer
	Start()
	State() []byte
	Cancel(r sip.Reason)
	Bye(r sip.Reason)
	Abandon()
	presser
}

// audio makes the ends of a call's sound.
type audio interface {
	Peer(o media.PeerOptions) (peer, error)
	Socket(o media.SocketOptions) (socket, error)
	Player(to media.Endpoint, s media.Sound) player
}

// player plays one sound to one side of a call.
type player interface {
	Start()
	Stop()
	Done() <-chan struct{}
}

// peer is the audio of the WhatsApp leg.
type peer interface {
	media.Endpoint
	Answer(ctx context.Context, offer string) (string, error)
	Offer(ctx context.Context) (string, error)
	SetAnswer(answer string) error
	Connected() <-chan struct{}
	Heard() <-chan struct{}
	Failed() <-chan struct{}
	Err() error
	Open()
}

// socket is the audio of the SIP leg.
type socket interface {
	media.Endpoint
	Offer() []byte
	Answer(offer []byte) ([]byte, error)
	SetAnswer(sdp []byte) error
	Reoffer(offer []byte) ([]byte, error)
	Press(k media.Key) error
	Failed() <-chan struct{}
	Err() error
	Open()
}

// book is what outlives the process.
type book interface {
	Begin(ctx context.Context, c store.Call, eventKey string) error
	SaveDialog(ctx context.Context, callID string, d store.Dialog) error
	DropDialog(ctx context.Context, callID string, attempt int) error
	Progress(ctx context.Context, callID string, p store.Progress) error
	End(ctx context.Context, r store.Record, owed []store.Debt, tag string) error
}

var (
	_ graph    = (*whatsapp.Client)(nil)
	_ session  = (*sip.Session)(nil)
	_ incoming = (*sip.Session)(nil)
	_ peer     = (*media.Peer)(nil)
	_ socket   = (*media.Socket)(nil)
	_ player   = (*media.Player)(nil)
	_ book     = (*store.DB)(nil)
)

// sipTrunks is package sip as a call sees it.
type sipTrunks struct{ *sip.Server }

func (s sipTrunks) Prepare(o sip.Outgoing, notify func(sip.Event)) (session, error) {
	out, err := s.Server.Prepare(o, notify)
	if err != nil {
		return nil, err // and no typed nil
	}
	return out, nil
}

// mediaEngine is package media as a call sees it.
type mediaEngine struct{ *media.Engine }

func (e mediaEngine) Peer(o media.PeerOptions) (peer, error) {
	p, err := e.NewPeer(o)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (e mediaEngine) Socket(o media.SocketOptions) (socket, error) {
	s, err := e.NewSocket(o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (e mediaEngine) Player(to media.Endpoint, s media.Sound) player { return e.NewPlayer(to, s) }
