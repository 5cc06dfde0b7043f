// Package config holds the settings of the gateway: plain data, read strictly
// and checked completely. What Load returns is usable as it stands.
package config

import (
	"net/netip"
	"time"
)

// Config is one immutable version of wagate.yaml with every default filled in.
// A reload builds a new Config; calls live by the one they were born with.
type Config struct {
	Node        string      `yaml:"node"`     // name in logs, records and metrics; default: the host's name
	DataDir     string      `yaml:"data_dir"` // the embedded store
	Log         Log         `yaml:"log"`
	HTTP        HTTP        `yaml:"http"`
	WhatsApp    WhatsApp    `yaml:"whatsapp"`
	Media       Media       `yaml:"media"`
	SIP         SIP         `yaml:"sip"`
	Trunks      []Trunk     `yaml:"trunks"`
	Routes      []Route     `yaml:"routes"`
	Permissions Permissions `yaml:"permissions"`
	Limits      Limits      `yaml:"limits"`
	Retention   Retention   `yaml:"retention"`

	tokenFiles map[string]string // of numbers; nil: no token is from a file
}

// Log chooses what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug|info|warn|error
	Format string `yaml:"format"` // json|text
}

// HTTP has the two listeners: one for Meta, one for operators.
type HTTP struct {
	Webhook Webhook `yaml:"webhook"`
	Admin   Admin   `yaml:"admin"`
}

// Webhook is the only listener that must face the internet.
type Webhook struct {
	Listen string  `yaml:"listen"`
	Path   string  `yaml:"path"`
	TLS    KeyPair `yaml:"tls"` // both empty behind a TLS proxy
}

// KeyPair names a PEM certificate and its key.
type KeyPair struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Admin serves the API, metrics and health.
type Admin struct {
	Listen      string `yaml:"listen"`
	Token       Secret `yaml:"token"` // required unless Listen is loopback
	MetricsOpen bool   `yaml:"metrics_open"`
	Pprof       bool   `yaml:"pprof"`
}

// WhatsApp says how to reach Meta and which numbers are ours.
type WhatsApp struct {
	GraphURL     string   `yaml:"graph_url"`
	GraphVersion string   `yaml:"graph_version"`
	AppSecrets   []Secret `yaml:"app_secrets"` // any of them signs a webhook
	VerifyToken  Secret   `yaml:"verify_token"`
	Numbers      []Number `yaml:"numbers"`
}

// Number is one business number.
type Number struct {
	Name          string   `yaml:"name"`
	PhoneNumberID string   `yaml:"phone_number_id"`
	Number        string   `yaml:"number"` // E.164 with its plus
	AccessToken   Secret   `yaml:"access_token"`
	Codecs        []string `yaml:"codecs"` // opus; PCMA, PCMU where the number has G.711 enabled
}

// Media has the two sides of audio.
type Media struct {
	WebRTC       WebRTC        `yaml:"webrtc"`
	RTP          RTP           `yaml:"rtp"`
	Opus         Opus          `yaml:"opus"`
	Timeout      time.Duration `yaml:"timeout"`       // PBX leg: neither RTP nor RTCP
	ICETimeout   time.Duration `yaml:"ice_timeout"`   // WhatsApp leg: consent lost
	SetupTimeout time.Duration `yaml:"setup_timeout"` // DTLS not up this long after the answer
}

// WebRTC is the one UDP port of all WhatsApp legs.
type WebRTC struct {
	Listen    netip.AddrPort `yaml:"listen"`
	PublicIPs []netip.Addr   `yaml:"public_ips"`
}

// RTP is the port range towards the PBX.
type RTP struct {
	Bind     netip.Addr `yaml:"bind"`
	PublicIP netip.Addr `yaml:"public_ip"` // zero: the bound address, or the one the route to the trunk uses
	Ports    PortRange  `yaml:"ports"`
}

// PortRange is an inclusive range of UDP ports, written "20000-29999".
type PortRange struct{ First, Last uint16 }

// Opus tunes the encoder towards WhatsApp. What is auto follows the loss that
// the far end reports, and the load; what is fixed stays as it is.
type Opus struct {
	Bitrate    int        `yaml:"bitrate"`    // bit/s
	Complexity Complexity `yaml:"complexity"` // auto or 0-10
	FEC        Switch     `yaml:"fec"`
}

// Complexity is an Opus complexity, or ComplexityAuto.
type Complexity int

// ComplexityAuto lets the encoder choose by the sampling rate, the loss and the
// load.
const ComplexityAuto Complexity = -1

// Switch is auto, on or off.
type Switch uint8

// The three positions of a Switch.
const (
	Auto Switch = iota
	On
	Off
)

// SIP has the listeners towards the PBX.
type SIP struct {
	Listen     []string `yaml:"listen"` // udp://host:port, tcp://, tls://
	PublicHost string   `yaml:"public_host"`
	TLS        TLS      `yaml:"tls"`
}

// TLS names a certificate, its key and the CA that signs the far end.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	CA   string `yaml:"ca"`
}

// Trunk is one SIP peer: an existing PBX or contact centre.
type Trunk struct {
	Name            string         `yaml:"name"`
	Targets         []Target       `yaml:"targets"` // in order of preference
	Sources         []netip.Prefix `yaml:"sources"` // who may send as this trunk; empty: the targets
	OutboundProxy   string         `yaml:"outbound_proxy"`
	NAT             bool           `yaml:"nat"`
	FromUser        string         `yaml:"from_user"` // caller, account or a fixed number
	FromHost        string         `yaml:"from_host"`
	CallerFormat    string         `yaml:"caller_format"` // e164|plain|00|national:CC
	Auth            Credentials    `yaml:"auth"`          // answers the PBX's challenge; empty user: not used
	Challenge       Challenge      `yaml:"challenge"`     // with a user: the PBX's INVITEs are challenged
	Register        Register       `yaml:"register"`
	TLS             TLS            `yaml:"tls"`
	Codecs          []string       `yaml:"codecs"`
	DTMF            string         `yaml:"dtmf"` // rfc4733|info
	SRTP            string         `yaml:"srtp"` // off|optional|required
	OptionsInterval time.Duration  `yaml:"options_interval"`
	SessionExpires  time.Duration  `yaml:"session_expires"` // session timer that is proposed; 0: none
	MaxCalls        int            `yaml:"max_calls"`
	MaxCPS          int            `yaml:"max_cps"`
	AllowPSTN       bool           `yaml:"allow_pstn"`
	TransferTargets []string       `yaml:"transfer_targets"`
}

// Target is a SIP URI, with a weight where several share the load.
type Target struct {
	URI    string `yaml:"uri"`
	Weight int    `yaml:"weight"`
}

// Credentials are a digest user and password.
type Credentials struct {
	User     string `yaml:"user"`
	Password Secret `yaml:"password"`
}

// Challenge is the account that INVITEs of a trunk have to bring.
type Challenge struct {
	User     string `yaml:"user"` // empty: nobody is challenged
	Password Secret `yaml:"password"`
	// Algorithms are offered in this order. Many phones read the first
	// challenge only, and know nothing but MD5.
	Algorithms []string `yaml:"algorithms"`
}

// unused says that no account is asked for, so its password need not be there.
func (c Credentials) unused() bool { return c.User == "" }
func (c Challenge) unused() bool   { return c.User == "" }

// Register makes the gateway a client of a registrar.
type Register struct {
	Enabled   bool          `yaml:"enabled"`
	Registrar string        `yaml:"registrar"`
	Expires   time.Duration `yaml:"expires"`
}

// Route says where a call goes; the first that matches wins.
type Route struct {
	Name        string        `yaml:"name"`
	Direction   string        `yaml:"direction"` // inbound: the customer calls; outbound
	Match       Match         `yaml:"match"`
	Reject      bool          `yaml:"reject"`
	Trunk       string        `yaml:"trunk"`
	To          string        `yaml:"to"` // dialled at the PBX; {caller} {number} {payload} {user_id} are filled in
	RingTimeout time.Duration `yaml:"ring_timeout"`
	Overflow    []Hop         `yaml:"overflow"`
	Strip       int           `yaml:"strip"`
	Prepend     string        `yaml:"prepend"`
	Number      Names         `yaml:"number"` // the business numbers that may call
	Countries   []string      `yaml:"countries"`
}

// Names is a list that may be written as one string.
type Names []string

// Hop is one place where an inbound call may ring.
type Hop struct {
	Trunk string `yaml:"trunk"`
	To    string `yaml:"to"`
}

// Match has the conditions of a Route; an empty one always holds.
type Match struct {
	Number  string   `yaml:"number"`  // name of a business number
	Caller  string   `yaml:"caller"`  // pattern, * at its ends or alone
	Payload string   `yaml:"payload"` // pattern
	Hours   Hours    `yaml:"hours"`   // "Mon-Fri 09:00-18:00 Europe/Lisbon"
	Except  []string `yaml:"except"`  // dates, 2026-12-25, in the zone of Hours
	Trunk   string   `yaml:"trunk"`
	To      string   `yaml:"to"`
}

// Permissions are the outbound rules.
type Permissions struct {
	CallWindow          Window        `yaml:"call_window"`
	AutoRequest         bool          `yaml:"auto_request"`
	Request             AskMessage    `yaml:"request"`
	RequestsPer24h      int           `yaml:"requests_per_24h"`
	RequestsPer7d       int           `yaml:"requests_per_7d"`
	StopAfterUnanswered int           `yaml:"stop_after_unanswered"`
	Announce            bool          `yaml:"announce"`
	Prompt              string        `yaml:"prompt"`
	Callback            bool          `yaml:"callback"`
	CallbackWithin      time.Duration `yaml:"callback_within"`
}

// Window is how long a temporary grant is used; zero means until Meta's expiry
// ("meta" in the file).
type Window time.Duration

// AskMessage is how a customer is asked for permission.
type AskMessage struct {
	Text     string   `yaml:"text"`
	Template Template `yaml:"template"`
}

// Template is a message template approved by Meta.
type Template struct {
	Name       string   `yaml:"name"`
	Language   string   `yaml:"language"`
	Parameters []string `yaml:"parameters"` // of its body, in the order of their numbers
}

// Limits protect this node and the calls on it.
type Limits struct {
	Calls        int           `yaml:"calls"`
	CPU          int           `yaml:"cpu"` // per cent of all CPUs from which on no call is admitted; 0: any
	MaxDuration  time.Duration `yaml:"max_duration"`
	DrainTimeout time.Duration `yaml:"drain_timeout"`
	AnswerWindow time.Duration `yaml:"answer_window"` // all targets of an inbound call together, from Meta's timestamp
}

// Retention is how long the store remembers.
type Retention struct {
	Journal time.Duration `yaml:"journal"`
	Records time.Duration `yaml:"records"`
}
