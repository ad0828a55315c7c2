package main

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// watched is a pulse whose other half answers while it is awake; it counts what becomes of the leader.
type watched struct {
	pulse
	awake    bool
	leading  bool
	asked    chan uint64
	answers  uint64
	gaveWay  chan time.Duration
	stopped  error
	finished durations
}

func newWatched() *watched {
	w := &watched{awake: true, leading: true, asked: make(chan uint64, 100), gaveWay: make(chan time.Duration, 100)}
	w.pulse = pulse{
		ask:       func(ping uint64) { w.asked <- ping },
		answered:  func(ping uint64) bool { return w.answers >= ping },
		leads:     func() bool { return w.leading },
		giveWay:   func(silent time.Duration) { w.gaveWay <- silent },
		stop:      func(err error) { w.stopped = err },
		patience:  5,
		writes:    vigil{acts: &w.finished},
		handovers: vigil{acts: &durations{}},
	}
	return w
}

// round is one, after which whoever is awake has answered.
func (w *watched) round() {
	asked := w.pulse.asked
	w.watchOtherHalf()
	if w.pulse.asked > asked {
		if ping := <-w.asked; w.awake {
			w.answers = ping
		}
	}
}

func (w *watched) rounds(count int) {
	for range count {
		w.round()
	}
}

// gives is the silence after which it gave way, once it has.
func (w *watched) gives() time.Duration {
	silent := <-w.gaveWay
	for w.handovers.acts.underWay() > 0 {
		runtime.Gosched()
	}
	return silent
}

func TestALeaderGivesWayWhenItsOtherHalfIsSilent(t *testing.T) {
	w := newWatched()
	w.rounds(50)
	w.awake = false
	w.rounds(5) // the first of them asks
	if len(w.gaveWay) > 0 {
		t.Error("too early")
	}
	w.rounds(1)
	if silent := w.gives(); silent != 5*pulseEvery {
		t.Error(silent)
	}
	w.rounds(4)
	w.leading = false
	w.rounds(20) // nobody's leader has nothing to give
	w.leading = true
	w.rounds(1) // it was elected in its sleep
	if silent := w.gives(); silent != 30*pulseEvery {
		t.Error(silent)
	}
	w.answers, w.awake = w.pulse.asked, true
	w.rounds(50)
	if len(w.gaveWay) > 0 {
		t.Error("it answers again")
	}
}

func TestALeaderThatCannotGiveWayEnds(t *testing.T) {
	limit := int(hangLimit / pulseEvery)
	w := newWatched()
	w.rounds(2)
	w.awake = false
	w.gaveWay = make(chan time.Duration) // Raft does not come to it
	w.rounds(5 + limit)
	if w.stopped != nil {
		t.Error("too early: ", w.stopped)
	}
	w.rounds(2)
	if w.stopped == nil || !strings.Contains(w.stopped.Error(), "could not be handed over for 10s") {
		t.Error(w.stopped)
	}
	if silent := w.gives(); silent != 5*pulseEvery {
		t.Error(silent)
	}
	if len(w.gaveWay) > 0 {
		t.Error("it was asked again while it was at it")
	}
}

func TestALeaderWhoseLogHangsEnds(t *testing.T) {
	limit := int(hangLimit / pulseEvery)
	w := newWatched()
	for range 3 * limit { // many writes, each in time
		began := w.finished.begin()
		w.watchLog()
		w.watchLog()
		w.finished.add(began)
		w.watchLog()
	}
	w.leading = false
	w.finished.begin()
	for range 3 * limit {
		w.watchLog()
	}
	if w.stopped != nil {
		t.Error(w.stopped)
	}
	w.leading = true
	w.watchLog()
	if w.stopped == nil || !strings.Contains(w.stopped.Error(), "a write has taken 10s") {
		t.Error(w.stopped)
	}
}
