package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a gateway on a core of its own.
type process struct {
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{}
}

// spawn starts a program on one core.
func spawn(core int, env []string, program string, args ...string) (*process, error) {
	args = append([]string{"-c", strconv.Itoa(core), program}, args...)
	p := &process{cmd: exec.CommandContext(context.Background(), "taskset", args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// alive returns an error if it does not run any more.
func (p *process) alive() error {
	select {
	case <-p.done:
		return errors.New("it has ended")
	default:
		return nil
	}
}

// words are the last it wrote. Only for when it has ended or is about to be.
func (p *process) words() string {
	lines := strings.Split(strings.TrimSpace(p.log.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// stop asks to end, twice where the first time means politeness, and then does
// not ask.
func (p *process) stop() {
	for range 2 {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if p.wait(stopPatience / 4) {
			return
		}
	}
	if !p.wait(stopPatience) {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *process) wait(limit time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(limit):
		return false
	}
}

const stopPatience = 2 * time.Second

// usage is what a process has used up.
type usage struct {
	cpu time.Duration // user and system, all threads
	rss int64         // bytes
}

// clockTick is the unit of the times in /proc, the same on every Linux.
const clockTick = 10 * time.Millisecond

func (p *process) usage() (usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return usage{}, fmt.Errorf("usage: %w", err)
	}
	_, rest, ok := strings.Cut(string(b), ") ") // the name may have spaces
	f := strings.Fields(rest)
	if !ok || len(f) < 22 {
		return usage{}, errors.New("usage: /proc is not what it was")
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(f[i-3], 10, 64) // proc(5) counts from 1
		return n
	}
	return usage{
		cpu: time.Duration(number(14)+number(15)) * clockTick,
		rss: number(24) * int64(os.Getpagesize()),
	}, nil
}

// until asks again and again.
func until(ctx context.Context, what string, come func() bool) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !come() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return errors.New(what)
		}
	}
	return nil
}
