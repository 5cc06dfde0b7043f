package whatsapp

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What our clock may be off from Meta's: ages of events and ends of permissions
// are reckoned with both.
const (
	clockWarning = time.Second
	clockAlarm   = 30 * time.Second
	// quickAnswer is the longest exchange that says anything: Meta looked at its
	// clock at some moment of it.
	quickAnswer = time.Second
)

// clock compares ours with the one that dates Meta's answers.
type clock struct {
	gauge prometheus.Gauge

	mu    sync.Mutex
	level slog.Level // of what was said last
}

// note takes the date of an answer. The offset is the least that explains it:
// Meta's clock shows whole seconds.
func (c *clock) note(date string, sent, received time.Time, log *slog.Logger) {
	meta, err := http.ParseTime(date)
	if err != nil || received.Sub(sent) > quickAnswer {
		return
	}
	var ahead time.Duration // negative: we are behind
	switch {
	case sent.After(meta.Add(time.Second)):
		ahead = sent.Sub(meta.Add(time.Second))
	case received.Before(meta):
		ahead = received.Sub(meta)
	}
	c.gauge.Set(ahead.Seconds())
	level := slog.LevelInfo
	switch {
	case ahead.Abs() > clockAlarm:
		level = slog.LevelError
	case ahead.Abs() > clockWarning:
		level = slog.LevelWarn
	}
	c.mu.Lock()
	before := c.level
	c.level = level
	c.mu.Unlock()
	if before == level {
		return
	}
	if level == slog.LevelInfo {
		log.Info("this machine's clock agrees with Meta's again")
		return
	}
	log.Log(context.Background(), level, "this machine's clock differs from Meta's; see that time synchronisation runs (timedatectl)",
		slog.Duration("ahead", ahead.Round(time.Millisecond)))
}
