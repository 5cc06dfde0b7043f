//go:build system || soak

package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// roomLimit is within how long the gateway takes calls again once it can.
const roomLimit = 5 * time.Second

// talks places a call that is up, and in which both sides hear each other.
func (d *daemon) talks(ctx context.Context, who string) (*fakemeta.Customer, *faketrunk.Call) {
	d.t.Helper()
	c, err := d.meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: who}, Payload: who})
	must(d.t, err)
	must(d.t, c.Wait(ctx, fakemeta.Connected))
	phone := phoneOf(ctx, d.t, d.pbx, who)
	hearing(ctx, d.t, c, phone)
	return c, phone
}

// refusesBoth asserts that new calls of both directions are refused clearly, and
// returns what the PBX was told.
func (d *daemon) refusesBoth(ctx context.Context, who string) (status int, word string) {
	d.t.Helper()
	c, err := d.meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: who}, Payload: who})
	must(d.t, err)
	must(d.t, c.Wait(ctx, fakemeta.Ended))
	if end := c.End(); end.By != fakemeta.ByBusiness || end.Talked != 0 {
		d.t.Errorf("a customer's new call ended %+v, want a refusal", end)
	}
	call, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + d.sip, From: "201"})
	must(d.t, err)
	return refused(ctx, d.t, call)
}

// TestDiskIsFull is C11: what runs goes on and is put on record from the reserve,
// what is new is refused, and room is found without a restart.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	disk := smallDisk(t, "4m")
	d := setUp(t, setup{Data: filepath.Join(disk, "data"), Extra: dialOutFile})
	d.pbx.Handle(answering(0))
	d.start(ctx)
	first, _ := d.talks(ctx, "34600113001")
	second, phone := d.talks(ctx, "34600113002")
	third, ear := d.talks(ctx, "34600113003")
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)

	tries := 0
	eventually(ctx, t, "the first refusal", func() bool { // until the reserve is needed, there is room
		tries++
		c, err := d.meta.Call(ctx, fakemeta.CallOptions{})
		must(t, err)
		select {
		case <-c.Reached(fakemeta.Connected):
			c.HangUp()
			return false
		case <-c.Reached(fakemeta.Ended):
			return c.End().By == fakemeta.ByBusiness
		case <-ctx.Done():
			return false
		}
	})
	status, word := d.refusesBoth(ctx, "34600113004")
	if status != 503 || word != "store_failed" {
		t.Errorf("on a full disk the PBX was told %d %s, want 503 store_failed", status, word)
	}
	hearing(ctx, t, second, phone)
	first.HangUp()
	must(t, phone.Hangup(ctx))
	must(t, second.Wait(ctx, fakemeta.Ended))
	eventually(ctx, t, "the records of the calls that ended", func() bool {
		found := 0
		for _, r := range d.records(ctx, 0) {
			if (r.WACID == first.ID() || r.WACID == second.ID()) && r.Cause == "hangup" {
				found++
			}
		}
		return found == 2
	})

	must(t, os.Remove(ballast))
	began := time.Now()
	var again *fakemeta.Customer
	eventually(ctx, t, "a call that is taken", func() bool {
		c, err := d.meta.Call(ctx, fakemeta.CallOptions{})
		must(t, err)
		again = c
		return c.Wait(ctx, fakemeta.Connected) == nil
	})
	took := time.Since(began)
	if took > 3*roomLimit {
		t.Errorf("calls were taken again %v after there was room, want at most %v", took, roomLimit)
	}
	hearing(ctx, t, third, ear)
	t.Logf("C11: new calls refused from the %d. on, running ones went on; taken again %.2f s after there was room", tries, took.Seconds())
	third.HangUp()
	again.HangUp()
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	d.wantOneRecordEach(ctx)
	d.wantAtRest(ctx)
}

// smallDisk mounts a disk of its own for the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for size := 64 << 10; size >= 1; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
}

// TestFewFiles is C17 in short.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	fewFiles(t, func(open int) int { return open + 5 })
}

// fewFiles lets a process that has two calls open so many files and no more: new
// calls are refused, those that are up go on and end as they want, and with more
// files calls are taken again.
func fewFiles(t *testing.T, limit func(open int) int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	d := setUp(t, manyCalls)
	d.pbx.Handle(func(m *faketrunk.Message) faketrunk.Script {
		return faketrunk.Script{NoAudio: strings.HasPrefix(m.Get("X-WA-Payload"), callerNumber(0)[:8])}
	})
	d.start(ctx)
	first, phone := d.talks(ctx, "34600113101")
	second, ear := d.talks(ctx, "34600113102")
	files := limit(d.files())
	d.mayOpen(ctx, files)

	taken := 0
	for refused := false; !refused; taken++ {
		c, err := d.meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: callerNumber(taken)}, Payload: callerNumber(taken)})
		must(t, err)
		c.Speech(fakemeta.RTCPOnly)
		select {
		case <-c.Reached(fakemeta.Connected):
		case <-c.Reached(fakemeta.Ended):
			refused = true
			if end := c.End(); end.By != fakemeta.ByBusiness {
				t.Errorf("call %d ended %+v, want a refusal", taken, end)
			}
		case <-ctx.Done():
			t.Fatalf("call %d is neither taken nor refused", taken)
		}
	}
	if status, word := d.refusesBoth(ctx, "34600113104"); status != 503 || word != "overloaded" {
		t.Errorf("without files the PBX was told %d %s, want 503 overloaded", status, word)
	}
	hearing(ctx, t, first, phone)
	must(t, phone.Hangup(ctx))
	must(t, first.Wait(ctx, fakemeta.Ended))
	hearing(ctx, t, second, ear)
	second.HangUp()
	must(t, ear.Wait(ctx, faketrunk.Ended))

	d.mayOpen(ctx, 4096)
	began := time.Now()
	eventually(ctx, t, "a call that is taken", func() bool {
		c, err := d.meta.Call(ctx, fakemeta.CallOptions{})
		must(t, err)
		return c.Wait(ctx, fakemeta.Connected) == nil
	})
	took := time.Since(began)
	if took > 3*roomLimit {
		t.Errorf("calls were taken again after %v, want at most %v", took, roomLimit)
	}
	t.Logf("C17: with %d files %d calls more were taken, further ones refused, 0 lost; taken again %.2f s after the limit was raised",
		files, taken-1, took.Seconds())
	for _, b := range d.meta.Open() {
		d.meta.Customer(b.ID).HangUp()
	}
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	d.wantOneRecordEach(ctx)
	d.wantAtRest(ctx)
}

// files counts what the process has open.
func (d *daemon) files() int {
	d.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	must(d.t, err)
	return len(open)
}

// opened are what the open files of the running process are, the number of each.
func (d *daemon) opened() map[string]int {
	d.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid)
	open, err := os.ReadDir(dir)
	must(d.t, err)
	kinds := map[string]int{}
	for _, f := range open {
		if target, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil {
			kind, _, _ := strings.Cut(target, ":[")
			kinds[kind]++
		}
	}
	return kinds
}

// mayOpen changes how many files the running process may have open.
func (d *daemon) mayOpen(ctx context.Context, files int) {
	d.t.Helper()
	out, err := command(ctx, "prlimit", "--pid", strconv.Itoa(d.cmd.Process.Pid), fmt.Sprintf("--nofile=%d:4096", files)).CombinedOutput()
	if err != nil {
		d.t.Fatalf("prlimit: %v: %s", err, out)
	}
}
