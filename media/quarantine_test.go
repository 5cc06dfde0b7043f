package media

import (
	"errors"
	"testing"
	"time"

	"wagate/config"
)

// A port rests after a call until its far end has fallen silent.
func TestQuarantine(t *testing.T) {
	e := pbxEngine(t, func(c *config.Media) { c.RTP.Ports = testPorts(1) })
	e.ports.quiet = 300 * time.Millisecond
	var s *Socket
	until(t, "a range that is free", func() (ok bool) { // another test may sit on it
		var err error
		s, err = e.NewSocket(SocketOptions{Codecs: []string{"PCMA"}, Remote: loopback})
		if err != nil {
			e.ports.first = testPorts(1).First
		}
		return err == nil
	})
	p := answeredPBX(t, s)
	s.Open()
	p.hear()
	s.Close()
	talk := time.Now().Add(3 * e.ports.quiet)
	for time.Now().Before(talk) { // its far end has not noticed
		p.say()
		if _, err := e.NewSocket(SocketOptions{Codecs: []string{"PCMU"}, Remote: loopback}); !errors.Is(err, ErrNoPort) {
			t.Fatalf("the port was given out again: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
	silent := time.Now()
	until(t, "the port is free again", func() bool {
		again, err := e.NewSocket(SocketOptions{Codecs: []string{"PCMU"}, Remote: loopback})
		if err != nil {
			return false
		}
		again.Close()
		return true
	})
	if d := time.Since(silent); d < e.ports.quiet-50*time.Millisecond {
		t.Errorf("free %v after the last packet", d)
	}
}

func TestEngineCloseEndsQuarantine(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	s.Close()
	s.Close() // twice is harmless
	left := pbxSocket(t, e, nil)
	e.ports.close()
	left.Close()
	if _, err := e.NewSocket(SocketOptions{Codecs: []string{"PCMU"}, Remote: loopback}); !errors.Is(err, errClosed) {
		t.Errorf("a socket after close: %v", err)
	}
}
