package main

import (
	"fmt"
	"log"
	"time"

	"github.com/hashicorp/raft"
)

const (
	pulseEvery = 200 * time.Millisecond
	// hangLimit is how long a write of a leader's log, or its way out of leading, may take.
	hangLimit = 10 * time.Second
)

// pulse watches the other half and the log, for Raft goes on leading whatever becomes of them: a leader whose state
// machine is silent hands leadership over, and one that cannot, or whose log does not come back from a write, ends.
//
// Rounds are counted, not time: in one in which this process did not run, no answer could have come.
type pulse struct {
	ask      func(ping uint64)
	answered func(ping uint64) bool
	leads    func() bool
	giveWay  func(silent time.Duration)
	stop     func(error)

	patience  int // rounds
	asked     uint64
	silent    int
	writes    vigil
	handovers vigil
}

// vigil counts the rounds of one act.
type vigil struct {
	acts   *durations
	act    uint64
	rounds int
}

// hangs is called once a round.
func (v *vigil) hangs() bool {
	act := v.acts.underWay()
	if act == 0 || act != v.act {
		v.act, v.rounds = act, 0
		return false
	}
	v.rounds++
	return v.rounds >= int(hangLimit/pulseEvery)
}

// keepPulse asks the other half without end whether it lives, which tells that one the same of this process.
func (b *bridge) keepPulse(patience time.Duration) {
	p := pulse{
		ask:       func(ping uint64) { b.send(framePing, u64(ping)) },
		answered:  b.hasAnswered,
		leads:     b.leads,
		giveWay:   b.giveWay,
		stop:      b.fail,
		patience:  max(2, int(patience/pulseEvery)),
		writes:    vigil{acts: &syncTimes},
		handovers: vigil{acts: &durations{}},
	}
	for range time.Tick(pulseEvery) {
		p.watchOtherHalf()
		p.watchLog()
	}
}

func (p *pulse) watchOtherHalf() {
	if p.handovers.hangs() {
		// Its main loop waits for room behind batches that nobody applies, while its heartbeats go on.
		p.stop(fmt.Errorf("raft: leadership could not be handed over for %v; it would keep others from leading", hangLimit))
	}
	if p.answered(p.asked) {
		p.asked++
		p.silent = 0
		go p.ask(p.asked) // it may have to wait for room in a socket that nobody reads
		return
	}
	p.silent++
	if p.silent%p.patience == 0 && p.leads() && p.handovers.acts.underWay() == 0 {
		go p.handOver(p.handovers.acts.begin(), time.Duration(p.silent)*pulseEvery)
	}
}

func (p *pulse) handOver(began time.Time, silent time.Duration) {
	defer p.handovers.acts.add(began)
	p.giveWay(silent)
}

func (p *pulse) watchLog() {
	if p.writes.hangs() && p.leads() {
		p.stop(fmt.Errorf("log store: a write has taken %v and goes on; a leader that cannot write keeps others from leading", hangLimit))
	}
}

func (b *bridge) hasAnswered(ping uint64) bool {
	b.progress.Lock()
	defer b.progress.Unlock()
	return b.answered >= ping
}

func (b *bridge) leads() bool {
	return b.running.Load() && b.raft.State() == raft.Leader
}

func (b *bridge) giveWay(silent time.Duration) {
	log.Printf("the state machine's process has not answered for %v: handing leadership over", silent)
	if err := b.raft.LeadershipTransfer().Error(); err != nil {
		log.Printf("leadership was not handed over: %v", err)
	}
}
