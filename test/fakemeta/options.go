package fakemeta

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"wagate/test/tone"
)

// Options say how the simulated Meta is set up. Every zero value has a default
// that works on loopback.
type Options struct {
	Listen    string     // address of the Graph API; default 127.0.0.1:0
	MediaIP   netip.Addr // where the relay takes media; default 127.0.0.1
	SharePort bool       // one relay port for all customers, as at Meta
	// Via puts a network between the gateway and a relay port: it is given the
	// port and returns what the candidate says instead. Nil: the port itself.
	Via           func(relay netip.AddrPort) (netip.AddrPort, error)
	WebhookURL    string // where the gateway listens; may be set later with SetWebhookURL
	Client        *http.Client
	AppSecret     string   // signs the webhooks; default "app-secret"
	VerifyToken   string   // for Verify; default "verify-token"
	Token         string   // bearer token of the first number; default "access-token"
	PhoneNumberID string   // of the first number; default 401122334455667
	DisplayNumber string   // of the first number, digits; default 351210000321
	Codecs        []string // G.711 that the first number has beside Opus: PCMA, PCMU
	Numbers       []Number
	AccountID     string // WhatsApp Business Account; default 502233445566778

	Patience     time.Duration // a user who calls gives up; default 45 s
	RingLimit    time.Duration // a user who is called is not asked longer; default 60 s
	StartSilence time.Duration // no media at the begin ends a call; default 20 s
	Silence      time.Duration // no media later ends a call; default 30 s

	// Clock is Meta's wall clock: what webhooks tell and what permissions go by.
	// Everything that waits does so in real time. Default time.Now.
	Clock func() time.Time
	// StrictPermissions lets nobody be called who has not granted it. Without it
	// everybody may be called, until told otherwise.
	StrictPermissions bool
	Rules             Rules

	HookTimeout time.Duration // a webhook without an answer failed; default 20 s
	HookRetry   time.Duration // until the first repetition, then doubled; default 500 ms
	HookGiveUp  time.Duration // no repetition after that; default 10 min

	Keep int          // rows kept in each book; default 20000
	Log  *slog.Logger // nil: silent
}

// Number is a business number.
type Number struct {
	ID      string   // phone-number id
	Display string   // digits
	Token   string   // bearer token that may use it
	Codecs  []string // G.711 that it has beside Opus: PCMA, PCMU
}

// User is a WhatsApp user as webhooks show one.
type User struct {
	Number   string // digits; default a Spanish mobile number, different for each call
	Name     string // profile name; default "Customer"
	Username string
	UserID   string // business-scoped id; default made from the number
	ParentID string
	Private  bool // a username user: the number is not in the webhooks
}

// CallOptions describe a call that a user makes.
type CallOptions struct {
	User      User
	To        string        // phone-number id; default the first number
	Payload   string        // cta_payload
	DeepLink  string        // deeplink_payload
	Age       time.Duration // how long ago the call is said to have begun
	Patience  time.Duration // default Options.Patience
	Companion bool          // from a linked device: no callback permission
	Codecs    []string      // of opus and what the number has; default opus, then that
	IPv6      Family        // a second candidate
	Loss      Loss
	Flaw      Flaw
	Sound     Sound
}

// Flaw is what is wrong with the media of a customer's phone, so that it never
// comes up.
type Flaw uint8

// The flaws.
const (
	NoFlaw     Flaw = iota
	Unshaken        // nothing of its DTLS handshake arrives
	WrongPrint      // its description names another certificate than it shows
)

// Sound is what a customer says and listens to.
type Sound struct {
	Tone  float64     // Hz, said; default 440
	Voice tone.Reader // said instead of Tone; 16 kHz. With ReadAt it is told when a packet leaves
	Hear  []float64   // Hz that the meter knows; default 620
	Ear   Ear         // hears everything too; nil: nobody
}

// Ear takes 16 kHz audio with the arrival time of its first sample, as
// tone.Listener does.
type Ear interface {
	WriteAt(pcm []int16, at time.Time)
}

// Family says what the offer has beside the IPv4 candidate.
type Family uint8

// The second candidates.
const (
	NoIPv6   Family = iota
	DeadIPv6        // of a network that cannot be reached, preferred as Meta prefers IPv6
	LiveIPv6        // on ::1
)

func (o Options) withDefaults() Options {
	def(&o.Listen, "127.0.0.1:0")
	def(&o.MediaIP, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	def(&o.AppSecret, "app-secret")
	def(&o.VerifyToken, "verify-token")
	def(&o.Token, "access-token")
	def(&o.PhoneNumberID, "401122334455667")
	def(&o.DisplayNumber, "351210000321")
	def(&o.AccountID, "502233445566778")
	def(&o.Patience, 45*time.Second)
	def(&o.RingLimit, time.Minute)
	def(&o.StartSilence, 20*time.Second)
	def(&o.Silence, 30*time.Second)
	def(&o.HookTimeout, 20*time.Second)
	def(&o.HookRetry, 500*time.Millisecond)
	def(&o.HookGiveUp, 10*time.Minute)
	def(&o.Keep, 20000)
	o.Rules = o.Rules.withDefaults()
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Client == nil {
		o.Client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Numbers = append([]Number{{ID: o.PhoneNumberID, Display: o.DisplayNumber, Token: o.Token, Codecs: o.Codecs}}, o.Numbers...)
	return o
}

func (s Sound) withDefaults() Sound {
	def(&s.Tone, 440)
	if s.Voice == nil {
		s.Voice = tone.NewSource(s.Tone, rate)
	}
	if s.Hear == nil {
		s.Hear = []float64{620}
	}
	s.Hear = slices.Clone(s.Hear)
	return s
}

// def sets what was left out.
func def[T comparable](p *T, v T) { *p = cmp.Or(*p, v) }
