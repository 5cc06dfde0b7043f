package gateway

import (
	"errors"
	"slices"
	"sync"

	"wagate/whatsapp"
)

// errForgotten means that a customer was erased while Meta was asked about them.
var errForgotten = errors.New("the customer was forgotten meanwhile")

// flights are the questions to Meta that are on their way. What comes of one is
// not written down where the customer was forgotten meanwhile: Meta's answer
// would bring back who that was.
type flights struct {
	writing sync.RWMutex // shared by those who write down, alone for who forgets

	mu    sync.Mutex
	aloft int
	gone  []whatsapp.Callee // forgotten since, by each of their names; nil when all have landed
}

// begin must come before the ledger is looked at. end must be called.
func (f *flights) begin() (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aloft++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.aloft--; f.aloft == 0 {
			f.gone = nil
		}
	}
}

// land writes down what a flight brings about a customer. The error is
// errForgotten where it must not.
func (f *flights) land(who whatsapp.Callee, write func() error) error {
	f.writing.RLock()
	defer f.writing.RUnlock()
	f.mu.Lock()
	forgotten := slices.ContainsFunc(f.gone, func(gone whatsapp.Callee) bool {
		return sameCustomer(whatsapp.User{Number: gone.Number, UserID: gone.UserID}, whatsapp.User{Number: who.Number, UserID: who.UserID})
	})
	f.mu.Unlock()
	if forgotten {
		return errForgotten
	}
	return write()
}

// forget erases a customer while nothing is written down. erase returns each name
// of the customer's.
func (f *flights) forget(erase func() ([]whatsapp.Callee, error)) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	names, err := erase()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.aloft > 0 {
		f.gone = append(f.gone, names...)
	}
	return err
}
