package gateway

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"wagate/config"
	"wagate/whatsapp"
)

// The window of a grant, from the webhook to the agent and to the API.
func TestPermissionWindow(t *testing.T) {
	expires := at(73*time.Hour + oneWeek)
	meta := worldRules
	meta.CallWindow = 0
	for name, c := range map[string]struct {
		after time.Duration
		rules config.Permissions
		want  whatsapp.Reason
	}{
		"71 h 59 min": {72*time.Hour - time.Minute, worldRules, ""},
		"73 h":        {73 * time.Hour, worldRules, whatsapp.ReasonWindow},
		"73 h, meta":  {73 * time.Hour, meta, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.set(c.rules)
			o.hear(yesAt(at(0), expires))
			now := at(c.after)
			o.meta.read = func() (whatsapp.PermissionState, error) {
				return whatsapp.PermissionState{From: now, To: now, Status: whatsapp.Temporary, Expires: expires}, nil
			}
			err := o.mayCallAt(now)
			no := denialOf(err)
			if (err == nil) != (c.want == "") || no != nil && (no.Reason != c.want || !no.Expires.Equal(expires) || !no.NextAsk.Equal(now)) {
				t.Errorf("got %+v (%v)", no, err)
			}
			v, err := o.state(t.Context(), worldNumber, worldUser.Callee(), now)
			want := permissionView{
				State: "temporary", GrantedAt: jsonTime(at(0)), UsableUntil: jsonTime(at(72 * time.Hour)), MetaExpiresAt: jsonTime(expires),
				NextRequestAt: jsonTime(now), MayCall: c.want == "", Reason: string(c.want),
			}
			if c.rules.CallWindow == 0 {
				want.UsableUntil = jsonTime(expires.Add(-5 * time.Minute))
			}
			if err != nil || !reflect.DeepEqual(v, want) {
				t.Errorf("%v\ngot  %+v\nwant %+v", err, v, want)
			}
		})
	}
}

// What the API shows of a request, its answer and what follows.
func TestPermissionStory(t *testing.T) {
	o := newOffice(t)
	show := func(when time.Time) permissionView {
		t.Helper()
		v, err := o.state(t.Context(), worldNumber, worldUser.Callee(), when)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := show(at(0)); v.State != "none" || v.MayCall || v.Reason != "none" || time.Time(v.NextRequestAt) != at(0) {
		t.Errorf("at first %+v", v)
	}
	if err := o.askAt(at(0)); err != nil {
		t.Fatal(err)
	}
	if v := show(at(time.Minute)); v.State != "requested" || v.Requests24h != 1 || v.Requests7d != 1 || time.Time(v.NextRequestAt) != at(oneDay) {
		t.Errorf("asked %+v", v)
	}
	if no := denialOf(o.askAt(at(time.Minute))); no == nil || !no.Again.Equal(at(oneDay)) {
		t.Errorf("asked again: %+v", no)
	}
	if len(o.meta.asked) != 1 || o.meta.asked[0] != whatsapp.Template || o.meta.tags[0] != whatsapp.AskTag(at(0)) {
		t.Errorf("sent %v with %v", o.meta.asked, o.meta.tags)
	}
	o.hear(yesAt(at(time.Hour), at(time.Hour+oneWeek)))
	if v := show(at(2 * time.Hour)); v.State != "temporary" || !v.MayCall {
		t.Errorf("granted %+v", v)
	}
	call := func(n int, s whatsapp.StatusState) {
		id, when := whatsapp.CallID(fmt.Sprint("wacid.", n)), at(3*time.Hour+time.Duration(n)*time.Minute)
		m := whatsapp.Meta{NumberID: worldNumber.PhoneNumberID, CallID: id, At: when}
		o.hear(whatsapp.Status{Meta: m, User: worldUser, State: whatsapp.Ringing})
		o.hear(whatsapp.Status{Meta: m, User: worldUser, State: s})
		m.At = when.Add(time.Second)
		end := whatsapp.Terminate{Meta: m, User: worldUser, Direction: whatsapp.BusinessInitiated}
		if s == whatsapp.Accepted {
			end.Start = when
		}
		o.hear(end)
	}
	for n := range 3 {
		call(n, whatsapp.Rejected)
	}
	v := show(at(4 * time.Hour))
	if v.Unanswered != 3 || v.MayCall || v.Reason != "unanswered" {
		t.Errorf("three times in vain %+v", v)
	}
	if err := o.mayCallAt(at(4 * time.Hour)); err == nil || err.Error() != "3 unanswered" {
		t.Errorf("the agent is told %v", err)
	}
	call(4, whatsapp.Accepted) // as if the customer took one
	if v := show(at(5 * time.Hour)); v.Unanswered != 0 || v.Requests24h != 0 || !v.MayCall {
		t.Errorf("answered %+v", v)
	}
	revoke := yesAt(at(6*time.Hour), time.Time{})
	revoke.Key, revoke.Accept, revoke.Automatic, revoke.Context = "no", false, true, ""
	o.hear(revoke)
	if v := show(at(7 * time.Hour)); v.State != "revoked" || v.MayCall {
		t.Errorf("revoked %+v", v)
	}
	for answer, want := range map[string]float64{replyTemporary: 1, replyAutoRevoked: 1, replyDeclined: 0} {
		if got := counted(t, o.metrics.replies[answer]); got != want {
			t.Errorf("%v replies %s, want %v", got, answer, want)
		}
	}
	if got := counted(t, o.metrics.denials[whatsapp.ReasonUnanswered]); got != 1 {
		t.Errorf("%v denials", got)
	}
	var changes []string
	for _, n := range o.news {
		changes = append(changes, fmt.Sprintf("%v %v %v", n.was, n.is, n.asked))
	}
	want := []string{"none requested true", "requested temporary false", "temporary revoked false"}
	if !reflect.DeepEqual(changes, want) {
		t.Errorf("told %v, want %v", changes, want)
	}
}

func TestStoreFails(t *testing.T) {
	o := newOffice(t)
	o.shut()
	if err := o.mayCallAt(at(0)); err == nil || denialOf(err) != nil {
		t.Errorf("may call: %v", err)
	}
	if err := o.askAt(at(0)); err == nil || denialOf(err) != nil || len(o.meta.asked) != 0 {
		t.Errorf("asked: %v", err)
	}
	if got := counted(t, o.metrics.requests[askFailed]); got != 1 {
		t.Errorf("counted %v", got)
	}
	if _, err := o.state(t.Context(), worldNumber, worldUser.Callee(), at(0)); err == nil {
		t.Error("there is a state")
	}
	o.open()
}

func TestUnknownNumber(t *testing.T) {
	o := newOffice(t)
	o.graph = func(string) asker { return nil }
	if err := o.askAt(at(0)); err == nil || denialOf(err) != nil {
		t.Errorf("asked: %v", err)
	}
	if no := denialOf(o.mayCallAt(at(0))); no == nil {
		t.Error("may call")
	}
}
