package gateway

import (
	"net/http"
	"slices"
	"time"
)

// liveCalls are the calls that are up or on their way.
type liveCalls interface {
	list() []callView
	show(id string) (callView, bool)
	hangup(id string) bool // false: there is no such call
}

// callView is a live call as the API shows it.
type callView struct {
	ID         string    `json:"id"`
	Direction  string    `json:"direction"` // inbound: the customer calls
	Phase      string    `json:"phase"`
	Number     string    `json:"number"` // name of our number
	User       string    `json:"user"`
	UserID     string    `json:"user_id"`
	Trunk      string    `json:"trunk"`
	To         string    `json:"to"`
	StartedAt  jsonTime  `json:"started_at"`
	AnsweredAt jsonTime  `json:"answered_at"`
	WACID      string    `json:"wacid"`
	Media      callMedia `json:"media"`
}

// callMedia has the figures of both sides so far, null for a side without
// audio yet.
type callMedia struct {
	WhatsApp *mediaView `json:"whatsapp"`
	SIP      *mediaView `json:"sip"`
}

// mediaView has the figures of one side: what was received from it, but for
// packets_sent.
type mediaView struct {
	Codec        string  `json:"codec"`
	Packets      int64   `json:"packets"`
	PacketsSent  int64   `json:"packets_sent"`
	Lost         int64   `json:"lost"`
	Late         int64   `json:"late"`
	JitterMS     float64 `json:"jitter_ms"`
	RTTMS        float64 `json:"rtt_ms"`
	ConcealedMS  int64   `json:"concealed_ms"`
	MOS          float64 `json:"mos"`
	FirstAudioMS int64   `json:"first_audio_ms"`
}

// listCalls shows all live calls, the oldest first.
func (a *admin) listCalls(w http.ResponseWriter, r *http.Request) {
	if !onlyParams(w, r) {
		return
	}
	calls := a.deps.calls.list()
	slices.SortFunc(calls, func(x, y callView) int {
		return time.Time(x.StartedAt).Compare(time.Time(y.StartedAt))
	})
	if calls == nil {
		calls = []callView{}
	}
	reply(w, http.StatusOK, map[string][]callView{"calls": calls})
}

func (a *admin) showCall(w http.ResponseWriter, r *http.Request) {
	call, ok := a.deps.calls.show(r.PathValue("id"))
	if !ok {
		noSuchCall(w)
		return
	}
	reply(w, http.StatusOK, call)
}

// hangupCall starts the end of a call; it is over when it left the list.
func (a *admin) hangupCall(w http.ResponseWriter, r *http.Request) {
	if !a.deps.calls.hangup(r.PathValue("id")) {
		noSuchCall(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func noSuchCall(w http.ResponseWriter) {
	fail(w, http.StatusNotFound, "not_found", "there is no live call with this id")
}

// onlyParams refuses query parameters that would be ignored.
func onlyParams(w http.ResponseWriter, r *http.Request, known ...string) bool {
	for name := range r.URL.Query() {
		if !slices.Contains(known, name) {
			fail(w, http.StatusBadRequest, "bad_request", "unknown parameter "+quoteParam(name))
			return false
		}
	}
	return true
}
