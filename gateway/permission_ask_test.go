package gateway

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wagate/config"
	"wagate/whatsapp"
)

// What becomes of a request when Meta does not simply take it.
func TestAskFails(t *testing.T) {
	api := func(status, code int) error { return &whatsapp.APIError{Status: status, Code: code} }
	for name, c := range map[string]struct {
		err     error
		outcome string
		counts  int           // requests that count afterwards
		rest    time.Duration // until the next may be made
	}{
		"not sent":           {fmt.Errorf("dial: %w", whatsapp.ErrNotSent), askNotSent, 0, 0},
		"lost":               {fmt.Errorf("read: %w", whatsapp.ErrUnknown), askUnknown, 1, oneDay},
		"a server error":     {api(500, 131000), askUnknown, 1, oneDay},
		"a gateway's error":  {api(502, 0), askUnknown, 1, oneDay},
		"refused":            {api(400, 131030), askRefused, 0, askRest},
		"refused, with time": {&whatsapp.APIError{Status: 429, Code: 131056, RetryAfter: 5 * time.Minute}, askRefused, 0, 5 * time.Minute},
		"over the limit":     {api(400, whatsapp.CodeAskLimit), askRefused, 0, limitRest},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.give(whatsapp.Permission{}.Spoke(at(0)))
			o.meta.request = func(whatsapp.AskKind) error { return c.err }
			if err := o.askAt(at(0)); !errors.Is(err, c.err) {
				t.Errorf("got %v", err)
			}
			row := o.row()
			if got := len(row.Asks); got != c.counts || !row.NextAsk(at(0), worldRules).Equal(at(c.rest)) {
				t.Errorf("%d count, next at %v", got, row.NextAsk(at(0), worldRules))
			}
			if got := counted(t, o.metrics.requests[c.outcome]); got != 1 {
				t.Errorf("%v counted as %s", got, c.outcome)
			}
			if len(o.meta.asked) != 1 {
				t.Errorf("%d requests were sent", len(o.meta.asked))
			}
		})
	}
}

func TestAskForms(t *testing.T) {
	plain := worldRules
	plain.Request.Template = config.Template{}
	needTemplate := func(kind whatsapp.AskKind) error {
		if kind == whatsapp.FreeForm {
			return &whatsapp.APIError{Status: 400, Code: whatsapp.CodeNeedTemplate}
		}
		return nil
	}
	for name, c := range map[string]struct {
		rules   config.Permissions
		spoke   bool
		request func(whatsapp.AskKind) error
		sent    []whatsapp.AskKind
		err     error
		counts  int
	}{
		"inside the window":                    {worldRules, true, nil, []whatsapp.AskKind{whatsapp.FreeForm}, nil, 1},
		"outside":                              {worldRules, false, nil, []whatsapp.AskKind{whatsapp.Template}, nil, 1},
		"outside, no template":                 {plain, false, nil, nil, whatsapp.ErrNoTemplate, 0},
		"inside, Meta sees it otherwise":       {worldRules, true, needTemplate, []whatsapp.AskKind{whatsapp.FreeForm, whatsapp.Template}, nil, 1},
		"inside, Meta does not, no template":   {plain, true, needTemplate, []whatsapp.AskKind{whatsapp.FreeForm}, &whatsapp.APIError{}, 0},
		"given permanently in the meantime":    {worldRules, true, nil, nil, &whatsapp.PermissionError{}, 0},
		"the caller went away before it began": {worldRules, true, nil, []whatsapp.AskKind{whatsapp.FreeForm}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.set(c.rules)
			if c.spoke {
				o.hear(whatsapp.Spoke{Meta: whatsapp.Meta{Key: "m", NumberID: worldNumber.PhoneNumberID, At: at(-time.Hour)}, User: worldUser})
			}
			if name == "given permanently in the meantime" {
				o.meta.read = func() (whatsapp.PermissionState, error) {
					return whatsapp.PermissionState{From: at(0), To: at(0), Status: whatsapp.Permanent}, nil
				}
			}
			o.meta.request = c.request
			ctx, cancel := context.WithCancel(t.Context())
			if name == "the caller went away before it began" {
				o.learn(ctx, worldNumber, worldUser.Callee(), o.row(), at(0))
			}
			err := o.ask(ctx, worldNumber, worldUser.Callee(), at(0))
			cancel()
			switch want := c.err.(type) { //nolint:errorlint // they are not wrapped here
			case *whatsapp.APIError:
				if metaCode(err) == 0 {
					t.Errorf("got %v", err)
				}
			case *whatsapp.PermissionError:
				if no := denialOf(err); no == nil || no.Reason != whatsapp.ReasonGranted {
					t.Errorf("got %v", err)
				}
			default:
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
			if !reflect.DeepEqual(o.meta.asked, c.sent) || len(o.row().Asks) != c.counts {
				t.Errorf("sent %v, %d count", o.meta.asked, len(o.row().Asks))
			}
		})
	}
}

// A caller who has gone does not leave a request that counts and was not sent.
func TestAskOutlivesItsCaller(t *testing.T) {
	o := newOffice(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.ask(ctx, worldNumber, worldUser.Callee(), at(0)); err != nil || len(o.meta.asked) != 1 {
		t.Errorf("sent %v, %v", o.meta.asked, err)
	}
}

func TestUndeliveredRequest(t *testing.T) {
	o := newOffice(t)
	if err := o.askAt(at(0)); err != nil {
		t.Fatal(err)
	}
	m := whatsapp.Meta{Key: "f1", NumberID: worldNumber.PhoneNumberID, At: at(time.Minute)}
	o.hear(whatsapp.MessageFailed{Meta: m, User: worldUser, MessageID: "wamid.else", Errors: []whatsapp.HookError{{Code: 131049}}})
	if v := viewPermission(o.row(), at(time.Hour), worldRules); v.State != "requested" {
		t.Errorf("another message's failure: %+v", v)
	}
	m.Key = "f2"
	o.hear(whatsapp.MessageFailed{Meta: m, User: whatsapp.User{Number: worldUser.Number}, MessageID: "wamid.1", Errors: []whatsapp.HookError{{Code: 131026}}})
	if v := viewPermission(o.row(), at(time.Hour), worldRules); v.State != "none" || v.RequestError != 131026 || v.Requests24h != 1 {
		t.Errorf("undelivered: %+v", v)
	}
	if got := counted(t, o.metrics.requests[askUndelivered]); got != 1 {
		t.Errorf("counted %v", got)
	}
}

// Many agents dial the same customer at once, in several lives of the process:
// one request leaves.
func TestAskAtOnce(t *testing.T) {
	o := newOffice(t)
	var sent atomic.Int32
	o.meta.request = func(whatsapp.AskKind) error { sent.Add(1); return nil }
	for life := range 3 {
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if err := o.askAt(at(time.Duration(life) * time.Hour)); err != nil && denialOf(err) == nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		o.shut()
		o.open()
	}
	if sent.Load() != 1 {
		t.Errorf("%d requests left", sent.Load())
	}
}
