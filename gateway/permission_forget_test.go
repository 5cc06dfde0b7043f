package gateway

import (
	"errors"
	"testing"

	"wagate/store"
	"wagate/whatsapp"
)

// erase forgets the customer as the gateway does.
func (o *office) erase(who whatsapp.Callee) (gone store.Erased) {
	o.t.Helper()
	err := o.flights.forget(func() (names []whatsapp.Callee, err error) {
		gone, names, err = o.db.Erase(o.t.Context(), who)
		return names, err
	})
	if err != nil {
		o.t.Error(err)
	}
	return gone
}

// TestForgottenWhileMetaIsAsked: what Meta's answer says of a customer who was
// erased while it was on its way brings nobody back, whichever name was erased
// and whatever the answer is.
func TestForgottenWhileMetaIsAsked(t *testing.T) {
	number, id := whatsapp.Callee{Number: worldUser.Number}, whatsapp.Callee{UserID: worldUser.UserID}
	for _, row := range []struct {
		name          string
		asked, erased whatsapp.Callee
		answer        error
	}{
		{"sent", number, number, nil},
		{"sent to the id, and the answer tells the number", id, number, nil},
		{"sent to the number, and the answer tells the id", number, id, nil},
		{"refused", number, number, &whatsapp.APIError{Status: 400, Code: whatsapp.CodeAskLimit}},
		{"not sent", number, number, whatsapp.ErrNotSent},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := newOffice(t)
			told := 0
			o.meta.request = func(whatsapp.AskKind) error {
				o.erase(row.erased)
				told = len(o.news)
				return row.answer
			}
			err := o.ask(t.Context(), worldNumber, row.asked, at(0))
			if (err == nil) != (row.answer == nil) || len(o.meta.asked) != 1 {
				t.Fatalf("asked %d times, %v", len(o.meta.asked), err)
			}
			if len(o.news) != told {
				t.Errorf("told of it: %+v", o.news[told:])
			}
			if again := o.erase(row.erased); again.Identities != 0 || again.Permissions != 0 {
				t.Errorf("left were %+v", again)
			}
		})
	}
}

// TestForgottenWhileMetaIsRead: the same for a permission that is looked up.
func TestForgottenWhileMetaIsRead(t *testing.T) {
	o := newOffice(t)
	o.meta.read = func() (whatsapp.PermissionState, error) {
		o.erase(worldUser.Callee())
		return whatsapp.PermissionState{From: at(0), To: at(0), Status: whatsapp.Permanent}, nil
	}
	if _, err := o.state(t.Context(), worldNumber, worldUser.Callee(), at(0)); err != nil {
		t.Fatal(err)
	}
	if again := o.erase(worldUser.Callee()); again.Identities != 0 || again.Permissions != 0 {
		t.Errorf("left were %+v", again)
	}
	o.meta.read = nil
	end := o.flights.begin()
	o.erase(whatsapp.Callee{Number: "34600999888"})
	if err := o.flights.land(worldUser.Callee(), func() error { return nil }); err != nil {
		t.Errorf("another customer's answer is not written down: %v", err)
	}
	end()
	if err := o.flights.land(whatsapp.Callee{Number: "34600999888"}, func() error { return errDisk }); !errors.Is(err, errDisk) {
		t.Errorf("a customer who comes back is not written down: %v", err)
	}
}
