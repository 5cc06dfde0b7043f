// Package rig starts a whole gateway on loopback between a simulated Meta and a
// simulated PBX, for the end-to-end tests, the benches and the demo. The gateway
// is the real one, with its store on disk.
package rig

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/gateway"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// The tones of the two sides, in Hz.
const (
	CustomerTone = 440
	PhoneTone    = 620
)

// Options change what Start sets up; the zero value is fine.
type Options struct {
	Dir    string                                                                 // data directory; empty: a new one that goes with the rig
	Config func(*config.Config)                                                   // changes to the configuration
	Meta   fakemeta.Options                                                       // with MediaIP, the gateway's side of it is there too
	Trunk  netip.Addr                                                             // where the PBX is, and the gateway's side of it; default 127.0.0.1
	Listen []float64                                                              // Hz that the phones know beside CustomerTone
	Via    func(rtp, rtcp netip.AddrPort) (faketrunk.Path, faketrunk.Path, error) // see faketrunk.Options
	Log    *slog.Logger                                                           // nil: silent
}

// Rig is a gateway with both far ends.
type Rig struct {
	Meta     *fakemeta.Server
	PBX      *faketrunk.Trunk
	Gateway  *gateway.Gateway
	Config   *config.Config
	Registry *prometheus.Registry

	log    *slog.Logger
	tmp    string
	stop   context.CancelFunc
	ended  chan struct{} // closed when Run has returned
	err    error         // of Run
	closed sync.Once
}

// Start brings everything up. The caller closes the Rig.
func Start(ctx context.Context, o Options) (*Rig, error) {
	r := &Rig{log: o.Log}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if err := r.start(ctx, o); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Rig) start(ctx context.Context, o Options) (err error) {
	if o.Dir == "" {
		if r.tmp, err = os.MkdirTemp("", "wagate"); err != nil {
			return err
		}
		o.Dir = r.tmp
	}
	if r.Meta, err = fakemeta.New(o.Meta); err != nil {
		return fmt.Errorf("start the simulated Meta: %w", err)
	}
	r.Meta.Start()
	trunk := o.Trunk
	if !trunk.IsValid() {
		trunk = loopback
	}
	r.PBX, err = faketrunk.Start(context.WithoutCancel(ctx), faketrunk.Options{
		Addr: netip.AddrPortFrom(trunk, 0).String(), Tone: PhoneTone, Listen: append([]float64{CustomerTone}, o.Listen...), Via: o.Via,
	})
	if err != nil {
		return fmt.Errorf("start the simulated PBX: %w", err)
	}
	r.Config = Configure(o.Dir, r.Meta.URL(), r.PBX.URI("udp"))
	r.Config.SIP.Listen, r.Config.Media.RTP.Bind = listeners(trunk), trunk
	if o.Meta.MediaIP.IsValid() {
		r.Config.Media.WebRTC.Listen = netip.AddrPortFrom(o.Meta.MediaIP, 0)
	}
	if o.Config != nil {
		o.Config(r.Config)
	}
	return r.StartGateway()
}

// StartGateway starts the gateway (again) with the Rig's configuration.
func (r *Rig) StartGateway() error {
	r.Registry = prometheus.NewRegistry()
	g, err := gateway.New(r.Config, r.log, r.Registry)
	if err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	r.Gateway = g
	r.Meta.SetWebhookURL("http://" + g.WebhookAddr() + r.Config.HTTP.Webhook.Path)
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.ended = stop, make(chan struct{})
	go func() {
		defer close(r.ended)
		r.err = g.Run(ctx)
	}()
	return r.ready(ctx)
}

// ready waits until the gateway takes calls from both sides.
func (r *Rig) ready(ctx context.Context) error {
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Gateway.AdminAddr()+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-r.ended:
			return errors.Join(errors.New("the gateway ended at once"), r.err)
		case <-poll.C:
		}
	}
}

const readyPoll = 5 * time.Millisecond

// StopGateway ends the gateway's calls and the gateway.
func (r *Rig) StopGateway() error {
	if r.stop == nil {
		return nil
	}
	r.stop()
	<-r.ended
	return r.err
}

// Ended is closed when the gateway has ended by itself or by StopGateway.
func (r *Rig) Ended() <-chan struct{} { return r.ended }

// Close ends everything.
func (r *Rig) Close() (err error) {
	r.closed.Do(func() {
		err = r.StopGateway()
		if r.PBX != nil {
			err = errors.Join(err, r.PBX.Close())
			for _, v := range r.PBX.Verdicts() {
				err = errors.Join(err, errors.New("what the PBX was told: "+v))
			}
		}
		if r.Meta != nil {
			err = errors.Join(err, r.Meta.Close())
		}
		if r.tmp != "" {
			err = errors.Join(err, os.RemoveAll(r.tmp))
		}
	})
	return err
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// listeners are those of SIP on an address.
func listeners(at netip.Addr) []string {
	free := netip.AddrPortFrom(at, 0).String()
	return []string{"udp://" + free, "tcp://" + free}
}

// Configure returns the settings of a gateway on loopback, with one number, one
// trunk and one route.
func Configure(dir, graphURL, target string) *config.Config {
	c := config.Default()
	c.Node = "rig"
	c.DataDir = dir
	c.HTTP.Webhook.Listen = "127.0.0.1:0"
	c.HTTP.Admin.Listen = "127.0.0.1:0"
	c.WhatsApp.GraphURL = graphURL
	c.WhatsApp.AppSecrets = []config.Secret{"app-secret"}
	c.WhatsApp.VerifyToken = "verify-token"
	c.WhatsApp.Numbers = []config.Number{{
		Name: "support", PhoneNumberID: "401122334455667", Number: "+351210000321",
		AccessToken: "access-token", Codecs: []string{"opus"},
	}}
	c.Limits.CPU = 0 // the far ends run in the gateway's process
	c.Media.WebRTC.Listen = netip.AddrPortFrom(loopback, 0)
	c.Media.RTP.Bind = loopback
	c.SIP.Listen = listeners(loopback)
	trunk := config.DefaultTrunk()
	trunk.Name = "pbx"
	trunk.Targets = []config.Target{{URI: target}}
	trunk.MaxCalls, trunk.MaxCPS = 1000, 1000
	c.Trunks = []config.Trunk{trunk}
	c.Routes = []config.Route{{
		Name: "support", Direction: "inbound", Match: config.Match{Number: "support"},
		Trunk: "pbx", To: "600", RingTimeout: 28 * time.Second,
	}}
	return c
}

// DialOut lets the desk phones of the trunk call customers in Spain and
// Portugal; for Options.Config.
func DialOut(c *config.Config) {
	c.Routes = append(c.Routes, config.Route{
		Name: "dial-out", Direction: "outbound", Match: config.Match{Trunk: "pbx"},
		Number: config.Names{"support"}, Countries: []string{"ES", "PT"}, RingTimeout: 45 * time.Second,
	})
}
