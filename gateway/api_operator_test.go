package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// fakeOperator knows one customer, who may be asked and called.
type fakeOperator struct {
	permission permissionView
	call       callView
	err        error

	asked []question
	dials []dialRequest
}

type question struct {
	what, number string
	user         whatsapp.User
}

func (f *fakeOperator) view(_ context.Context, number string, user whatsapp.User) (permissionView, error) {
	f.asked = append(f.asked, question{"view", number, user})
	return f.permission, f.err
}

func (f *fakeOperator) request(_ context.Context, number string, user whatsapp.User) (permissionView, error) {
	f.asked = append(f.asked, question{"request", number, user})
	return f.permission, f.err
}

func (f *fakeOperator) erase(_ context.Context, user whatsapp.User) (store.Erased, error) {
	f.asked = append(f.asked, question{"erase", "", user})
	return store.Erased{Records: 3, Traces: 2, Permissions: 1, Limits: 1, Clean: true}, f.err
}

func (f *fakeOperator) traceOf(_ context.Context, id string) (json.RawMessage, error) {
	if id != "c1" || f.err != nil {
		return nil, f.err
	}
	tr := newTrace("c1", cutter{}, new(atomic.Int64))
	tr.sip(sip.Traced{At: aMoment, Sent: true, Peer: "udp 192.0.2.10:5060", Start: "INVITE sip:600@192.0.2.10 SIP/2.0", Method: "INVITE"})
	return json.Marshal(tr.view())
}

func (f *fakeOperator) dial(_ context.Context, d dialRequest) (callView, error) {
	f.dials = append(f.dials, d)
	return f.call, f.err
}

var aMoment = time.Date(2026, 11, 22, 9, 0, 0, 123e6, time.UTC)

const goodDial = `{"number": "support", "to": "+34600111222", "trunk": "pbx", "agent": "201"}`

// full is an admin server that serves everything.
type full struct {
	admin    *admin
	feed     *feed
	operator *fakeOperator
}

func fullAdmin(t *testing.T) *full {
	t.Helper()
	book := newAdminBook()
	log := slog.New(slog.DiscardHandler)
	f := &full{
		feed: newFeed(time.Now(), 8, log),
		operator: &fakeOperator{
			permission: permissionView{State: "requested", Requests24h: 1, Requests7d: 2, NextRequestAt: jsonTime(aMoment)},
			call:       callView{ID: "c/2", Direction: outbound, Phase: "summoning", Number: "support", StartedAt: jsonTime(aMoment)},
		},
	}
	f.admin = newAdmin(config.Admin{}, adminDeps{
		calls: book, records: book, ready: func(context.Context) []check { return nil }, signs: func(context.Context) []check { return nil }, metrics: prometheus.NewRegistry(), log: log,
		events: f.feed, traces: f.operator, consent: f.operator, dialer: f.operator, eraser: f.operator,
	})
	return f
}

// everyNotice has one of each kind, and more where the form differs.
func everyNotice() []notice {
	call := callView{ID: "c1", Direction: inbound, Phase: "ringing", User: "+34600111222", StartedAt: jsonTime(aMoment)}
	record := store.Record{ID: "c1", Direction: inbound, User: "+34600111222", StartedAt: aMoment, EndedAt: aMoment, Cause: "no_answer"}
	permission := permissionNews{Number: "support", User: "+34600111222", permissionView: permissionView{State: "temporary", GrantedAt: jsonTime(aMoment)}}
	return []notice{
		callStarted(call), callRinging(call), callAnswered(call), callEnded(record),
		callMissed{Record: record, Reason: "no_answer", WindowOpen: true},
		permissionRequested(permission), permissionChanged(permission),
		trunkUp{"pbx"},
		trunkDown{"pbx"},
		eventsLost{},
		eventsLost{Lost: new(uint64(7))},
	}
}
