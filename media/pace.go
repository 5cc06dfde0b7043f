package media

import "time"

// pace keeps a sender at one second of audio per second. What it is given comes
// at the rhythm of another network: bursts after a stall, a clock that is a
// little fast. It compares the audio sent with the time that passed and says
// which frames are too many; a far end would otherwise carry every one of them
// as delay to the end of the call.
type pace struct {
	due    time.Time     // when the next frame would be on time
	least  time.Duration // smallest lead in the current window
	window time.Time     // its end
	excess time.Time     // since when there is too much; zero: there is not
	spare  int           // frames too many, as of the last window
	filled int           // comfort frames that may have stood in for audio which then came
}

// The limits of a pace.
const (
	maxLead     = 100 * time.Millisecond // a burst beyond this is cut at once
	maxLag      = 40 * time.Millisecond  // how late the source may be without moving our idea of on time
	paceWindow  = 500 * time.Millisecond
	paceSurplus = 15 * time.Millisecond  // lead of all frames of a window, after we filled a gap
	paceDrift   = 35 * time.Millisecond  // the same without a gap: a fast clock
	pacePatient = 250 * time.Millisecond // how long to wait for a quiet frame to leave out
	paceCalm    = 2 * time.Second        // the same where it is the only one
	maxFilled   = 25
)

// admit says whether a frame may be sent now.
func (p *pace) admit(now time.Time, f *Frame) bool {
	if p.due.IsZero() {
		p.due, p.window, p.least = now, now.Add(paceWindow), maxLead
	}
	lead := p.due.Sub(now)
	if lead > maxLead {
		return false
	}
	p.least = min(p.least, lead)
	if !now.Before(p.window) {
		enough := paceDrift
		if p.filled > 0 {
			enough = paceSurplus
		}
		switch {
		case p.least < enough:
			p.excess, p.spare = time.Time{}, 0
		case p.excess.IsZero():
			p.excess = now
			fallthrough
		default:
			p.spare = 1 + int((p.least-enough)/frameTime)
		}
		p.window, p.least = now.Add(paceWindow), lead
	}
	if p.excess.IsZero() {
		return true
	}
	patience := pacePatient
	if p.spare <= 1 {
		patience = paceCalm
	}
	if now.Sub(p.excess) < patience && !inaudible(f) {
		return true
	}
	p.window, p.least = now.Add(paceWindow), maxLead
	if p.excess, p.spare = now, p.spare-1; p.spare <= 0 {
		p.excess = time.Time{}
	}
	p.filled = max(p.filled-1, 0)
	return false
}

// sent notes a frame that was sent.
func (p *pace) sent(now time.Time, duration time.Duration) {
	if late := now.Add(-maxLag); p.due.Before(late) {
		p.due = late
	}
	p.due = p.due.Add(duration)
}

// fill notes a comfort frame.
func (p *pace) fill(now time.Time, duration time.Duration) {
	p.sent(now, duration)
	p.filled = min(p.filled+1, maxFilled)
}
