//go:build system || soak

package test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"wagate/config"
	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
	"wagate/test/rig"
)

// office is a gateway in front of an Asterisk with phones that have registered
// there, each with a tone of its own.
type office struct {
	*rig.Rig
	pbx    *peers.Asterisk
	phones map[string]*faketrunk.Trunk
}

// phoneTones are what the phones say, in Hz.
var phoneTones = map[string]float64{"201": rig.PhoneTone, "202": 820}

// opened starts an office, whose customers arrive at an extension of Asterisk's.
func opened(t *testing.T, to string, o peers.AsteriskOptions, change func(*config.Config)) (*office, context.Context) {
	t.Helper()
	if o.Phones == nil {
		o.Phones = []string{"201", "202"}
	}
	f := &office{pbx: peers.StartAsterisk(t, o), phones: map[string]*faketrunk.Trunk{}}
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		beside(t, c, f.pbx)
		c.Routes[0].To = to
		if change != nil {
			change(c)
		}
	}})
	f.Rig = r
	_, err := f.pbx.Command(ctx, "pjsip qualify wagate") // it may have asked before there was a gateway
	must(t, err)
	_, err = f.pbx.WaitEvent(ctx, "ContactStatus", "AOR", "wagate", "ContactStatus", "Reachable")
	must(t, err)
	for _, extension := range o.Phones {
		f.phones[extension] = f.desk(ctx, t, extension)
	}
	return f, ctx
}

// beside takes the gateway's settings from the guide, and only those.
func beside(t *testing.T, c *config.Config, pbx *peers.Asterisk) {
	t.Helper()
	dir := t.TempDir()
	for _, account := range []string{"wagate", "asterisk"} {
		must(t, os.WriteFile(filepath.Join(dir, account+"-password"), []byte(peers.Password(account)), 0o600))
	}
	guide, err := config.Parse([]byte(guideBase+pbx.Wagate), dir)
	must(t, err)
	c.SIP, c.Media.RTP, c.Trunks, c.Routes = guide.SIP, guide.Media.RTP, guide.Trunks, guide.Routes
	c.Trunks[0].MaxCPS = 1000
}

// guideBase is what the guide leaves to the README.
const guideBase = `data_dir: .
whatsapp:
  app_secrets: [{file: wagate-password}]
  verify_token: {file: wagate-password}
  numbers:
    - {name: support, phone_number_id: "401122334455667", number: "+351210000321", access_token: {file: wagate-password}}
`

// desk registers a phone.
func (f *office) desk(ctx context.Context, t *testing.T, extension string) *faketrunk.Trunk {
	t.Helper()
	phone, err := faketrunk.Start(context.WithoutCancel(ctx), faketrunk.Options{
		Addr: f.pbx.Phones.String() + ":0", User: extension, Tone: phoneTones[extension],
		Listen: []float64{rig.CustomerTone, phoneTones["201"], phoneTones["202"], peers.MusicTone},
	})
	must(t, err)
	t.Cleanup(func() { _ = phone.Close() })
	must(t, phone.Register(ctx, faketrunk.Registration{Registrar: "sip:" + f.pbx.Addr.String(), Password: peers.Password(extension)}))
	return phone
}

// ear is what customers listen for.
func ear() fakemeta.Sound {
	return fakemeta.Sound{Hear: []float64{phoneTones["201"], phoneTones["202"], peers.MusicTone, peers.QuestionTone}}
}

// closed waits for the end of all calls and returns the records. Every customer
// must have heard one unbroken stream.
func (f *office) closed(ctx context.Context, t *testing.T, customers ...*fakemeta.Customer) []store.Record {
	t.Helper()
	for extension, phone := range f.phones {
		if err := phone.Settled(ctx); err != nil {
			t.Errorf("phone %s: %v", extension, err)
		}
		for _, fault := range phone.Faults() {
			t.Errorf("phone %s would complain: %s", extension, fault)
		}
	}
	rs := settled(ctx, t, f.Rig)
	for _, c := range customers {
		wantSteadyAtCustomer(t, c)
	}
	return rs
}

// conversing waits until a customer and a phone hear each other, from now on.
func conversing(ctx context.Context, t *testing.T, customer *fakemeta.Customer, phone *faketrunk.Call, extension string) {
	t.Helper()
	customer.Meter().Reset()
	phone.Audio().Meter().Reset()
	if err := customer.WaitHeard(ctx, phoneTones[extension]); err != nil {
		t.Fatalf("the customer does not hear phone %s: %v", extension, err)
	}
	if err := phone.Audio().Meter().Wait(ctx, rig.CustomerTone); err != nil {
		t.Fatalf("phone %s does not hear the customer: %v", extension, err)
	}
}

// dial lets a registered phone call a number.
func (f *office) dial(ctx context.Context, t *testing.T, from, to string) *faketrunk.Call {
	t.Helper()
	call, err := f.phones[from].Dial(ctx, faketrunk.Outgoing{
		To: "sip:" + to + "@" + f.pbx.Addr.String(), From: from, User: from, Password: peers.Password(from),
	})
	must(t, err)
	return call
}

func hold(ctx context.Context, t *testing.T, phone *faketrunk.Call) {
	t.Helper()
	if status, err := phone.Reinvite(ctx, faketrunk.SendOnly); err != nil || status != 200 {
		t.Fatalf("hold: %d, %v", status, err)
	}
}

func resume(ctx context.Context, t *testing.T, phone *faketrunk.Call) {
	t.Helper()
	if status, err := phone.Reinvite(ctx, faketrunk.SendRecv); err != nil || status != 200 {
		t.Fatalf("resume: %d, %v", status, err)
	}
}

// handOver is an attended transfer as phones do it: the first call is held, a
// colleague is asked, and the colleague's call takes its place.
func handOver(ctx context.Context, t *testing.T, f *office, call *faketrunk.Call, from, to string) *faketrunk.Call {
	t.Helper()
	hold(ctx, t, call)
	asked := f.dial(ctx, t, from, to)
	colleague, err := f.phones[to].Next(ctx)
	must(t, err)
	must(t, asked.Wait(ctx, faketrunk.Up))
	must(t, asked.Audio().Meter().Wait(ctx, phoneTones[to]))
	must(t, call.Refer(ctx, asked, "sip:"+to+"@"+f.pbx.Addr.String()))
	must(t, asked.Wait(ctx, faketrunk.Ended))
	must(t, call.Hangup(ctx))
	return colleague
}
