package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"wagate/config"
	"wagate/gateway"
)

type serveCmd struct {
	Config string `short:"c" default:"wagate.yaml" env:"WAGATE_CONFIG" placeholder:"FILE" help:"Configuration file (${default})."`
}

// daemon is the gateway as serve drives it.
type daemon interface {
	Run(ctx context.Context) error
	Drain()
	Reload(cfg *config.Config) error
	Ready(ctx context.Context) error // nil: new calls are taken
	Alive(ctx context.Context) error // nil: every part of it gives a sign of life
}

// Run is the daemon's life.
func (c *serveCmd) Run(term terminal) error {
	// Signals are kept from the first moment: one that comes while the store
	// opens must not kill the process half-way.
	signals := make(chan os.Signal, 8) // a few in a row, while a reload runs
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	cfg, err := load(c.Config)
	if err != nil {
		return badConfig(c.Config, err)
	}
	level := new(slog.LevelVar)
	level.Set(levelOf(cfg.Log))
	log := newLogger(term.err, cfg, level)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	g, err := gateway.New(cfg, log, reg)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	reload := func() {
		fresh, err := config.Load(c.Config)
		if err == nil {
			err = g.Reload(fresh)
		} else {
			g.ReloadRefused()
		}
		if err != nil {
			log.Error("configuration refused, the old one stays", slog.String("file", c.Config), slog.Any("faults", faultLines(err)))
			return
		}
		level.Set(levelOf(fresh.Log))
	}
	m, err := findManager(context.Background(), os.Getenv, os.Getpid())
	if err != nil {
		log.Warn("nobody is told how the gateway is", slog.Any("error", err))
	}
	defer m.close()
	return supervise(g, m, signals, reload, log)
}

// supervise runs the daemon and turns signals into what they mean: the first
// to end drains, the second ends every call now, SIGHUP reloads. The manager
// hears of all of it.
func supervise(d daemon, m manager, signals <-chan os.Signal, reload func(), log *slog.Logger) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	finished := make(chan error, 1) // its only value is the end
	go func() { finished <- d.Run(ctx) }()

	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer stop()
	ready := make(chan struct{})
	watch.Go(func() { m.awaitReady(watching, d, ready) })

	taking, draining := false, false // calls
	for {
		select {
		case err := <-finished:
			return err
		case <-ready:
			ready, taking = nil, !draining
			if taking {
				m.tell(tellReady, tellUp)
				watch.Go(func() { m.beats(watching, d, log) })
			}
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP && taking:
				m.tell(tellReloading)
				reload()
				m.tell(tellReady, tellUp)
			case sig == syscall.SIGHUP:
				reload()
			case draining:
				log.Warn("ending every call now", slog.String("signal", sig.String()))
				cancel()
			default:
				log.Info("no new calls, running ones may finish; once more ends them", slog.String("signal", sig.String()))
				taking, draining = false, true
				m.tell(tellStopping, tellDraining)
				d.Drain()
			}
		}
	}
}

// load reads a configuration, and of what it names the prompt.
func load(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return cfg, gateway.CheckPrompt(cfg)
}

// badConfig is what is wrong with a configuration, one line per fault.
func badConfig(path string, err error) error {
	lines := faultLines(err)
	if len(lines) == 1 {
		return usageError{fmt.Errorf("%s: %s", path, lines[0])}
	}
	return usageError{fmt.Errorf("%s has %d faults:\n  %s", path, len(lines), strings.Join(lines, "\n  "))}
}

// faultLines is one line per thing that is wrong.
func faultLines(err error) []string {
	var faults config.Faults
	if !errors.As(err, &faults) {
		return []string{err.Error()}
	}
	lines := make([]string, len(faults))
	for i, f := range faults {
		lines[i] = f.String()
	}
	return lines
}

func levelOf(l config.Log) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}

func newLogger(w io.Writer, cfg *config.Config, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewJSONHandler(w, options)
	if cfg.Log.Format == "text" {
		h = slog.NewTextHandler(w, options)
	}
	return slog.New(h).With(slog.String("node", cfg.Node))
}
