package media

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// watcher measures the load of the process for the governor and carries out
// what it decides.
type watcher struct {
	governor governor
	economy  *economy
	metrics  *metrics
	calls    func() int
	probes   []*probe
	stop     chan struct{}
	wg       sync.WaitGroup
}

// probe is a task that does nothing but see how late it is.
type probe struct {
	task *task
	due  time.Time // the shard's alone
	late atomic.Int64
	n    atomic.Int64
}

// watch starts the measurement, with one probe on each shard of the clock.
func watch(p *pacer, e *economy, m *metrics, calls func() int) *watcher {
	w := &watcher{economy: e, metrics: m, calls: calls, stop: make(chan struct{})}
	now := time.Now()
	for range p.shards {
		pr := &probe{due: now}
		pr.task = p.task(pr.tick)
		w.probes = append(w.probes, pr)
		pr.task.wake(now)
	}
	w.wg.Go(w.run)
	return w
}

func (p *probe) tick(time.Time) time.Time {
	now := time.Now() // what ran before this task in the same turn counts
	p.late.Add(int64(max(now.Sub(p.due), 0)))
	p.n.Add(1)
	if p.due = p.due.Add(frameTime); p.due.Before(now) {
		p.due = now.Add(frameTime)
	}
	return p.due
}

// lateness is the mean of all probes since it was last asked for.
func (w *watcher) lateness() time.Duration {
	var late, n int64
	for _, p := range w.probes {
		late += p.late.Swap(0)
		n += p.n.Swap(0)
	}
	if n == 0 {
		return judgeEvery // no shard has come to its probe
	}
	return time.Duration(late / n)
}

func (w *watcher) run() {
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	last, used := time.Now(), cpuTime()
	for {
		select {
		case <-tick.C:
		case <-w.stop:
			return
		}
		now, cpu := time.Now(), cpuTime()
		cpus := runtime.GOMAXPROCS(0)
		w.governor.judge(now, load{
			cpu:  float64(cpu-used) / float64(now.Sub(last)) / float64(cpus),
			late: w.lateness(), calls: w.calls(), cpus: cpus,
		})
		last, used = now, cpu
		w.tell()
	}
}

// tell carries out and shows what was decided.
func (w *watcher) tell() {
	cpu, late, saving, full := w.governor.state()
	w.economy.set(saving)
	w.metrics.cpu.Set(cpu)
	w.metrics.lateness.Set(late.Seconds())
	w.metrics.economy.Set(float64(saving))
	w.metrics.overloaded.Set(0)
	if full {
		w.metrics.overloaded.Set(1)
	}
}

func (w *watcher) close() {
	close(w.stop)
	w.wg.Wait()
}

// cpuTime is what the process has used up, on all CPUs.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Guard sets from which share of the CPUs on, from 0 to 1, new calls are not
// admitted. With a limit, none is admitted either while the media clock runs
// late, and encoders save before it comes to that. 0, as it is at first, admits
// every call and saves nothing.
func (e *Engine) Guard(cpu float64) { e.watcher.governor.guard(cpu) }

// Admit says whether one more call can be carried without harm to those that
// run. It counts the call as coming: ask once for each.
func (e *Engine) Admit() bool { return e.watcher.governor.admit() }
