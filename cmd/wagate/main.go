// Command wagate is a gateway between WhatsApp Business Calling and SIP: the
// daemon, and the commands that check, watch and ask it.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // while running
	exitUsage  = 2 // bad flags or configuration
)

// cli has one field per command.
type cli struct {
	Serve       serveCmd       `cmd:"" help:"Run the gateway. SIGTERM or SIGINT lets running calls finish, a second one ends them now; SIGHUP reloads the configuration."`
	Demo        demoCmd        `cmd:"" help:"Show the main job on loopback, without an account: customers call desk phones, desk phones call customers, both hear each other."`
	Check       checkCmd       `cmd:"" help:"Check a configuration and show everything that is wrong with it."`
	Calls       callsCmd       `cmd:"" help:"List, show, place and hang up calls of the running gateway."`
	Records     recordsCmd     `cmd:"" help:"Show records of ended calls, and forget a customer."`
	Permissions permissionsCmd `cmd:"" help:"Show whether a customer may be called, and ask for it."`
	Version     versionCmd     `cmd:"" help:"Show the version of this program and of what it is built on."`
}

// terminal is what commands talk to.
type terminal struct {
	out, err io.Writer
	in       io.Reader // a person who can be asked; nil: nobody
}

// say writes a line of what was asked for. Where nobody reads any more, nobody
// can be told.
func (t terminal) say(format string, args ...any) { _, _ = fmt.Fprintf(t.out, format+"\n", args...) }

// warn writes a line beside it.
func (t terminal) warn(format string, args ...any) { _, _ = fmt.Fprintf(t.err, format+"\n", args...) }

// person is whoever types at a terminal, nil where a program does.
func person(in *os.File) io.Reader {
	if _, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return in
}

// confirm asks for a yes.
func (t terminal) confirm(question string) bool {
	_, _ = fmt.Fprint(t.err, question+" (yes/no) ")
	answer, _ := bufio.NewReader(t.in).ReadString('\n') // what ends without a line is an answer too
	return strings.EqualFold(strings.TrimSpace(answer), "yes")
}

// patience is after which a command says that it still waits.
const patience = 2 * time.Second

// waiting says what a command waits for, should it last. done must be called.
func (t terminal) waiting(what string) (done func()) {
	timer := time.AfterFunc(patience, func() { t.warn("%s…", what) })
	return func() { timer.Stop() }
}

// usageError is a fault of the command line or the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitRequest ends the parser early, as --help does.
type exitRequest int

func main() {
	// What commands wait for ends with the first interrupt; serve listens on
	// its own, because it drains first.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], terminal{out: os.Stdout, err: os.Stderr, in: person(os.Stdin)})
	stop()
	os.Exit(code)
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, term terminal) (code int) {
	defer func() {
		switch early := recover().(type) {
		case nil:
		case exitRequest:
			code = int(early)
		default:
			panic(early)
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("wagate"),
		kong.Description("A gateway between WhatsApp Business Calling and SIP PBXs."),
		kong.Writers(term.out, term.err),
		kong.Exit(func(code int) { panic(exitRequest(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(term),
	)
	if err != nil {
		return report(term, err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return report(term, usageError{fmt.Errorf("%w; see wagate --help", err)})
	}
	return report(term, command.Run())
}

// report writes an error and chooses the exit code.
func report(term terminal, err error) int {
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errSaid) {
		term.warn("wagate: %v", err)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// errSaid is a failure that the command has already shown.
var errSaid = errors.New("failed")
