package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// changeTimeout bounds the wait until a membership change is taken up; what was begun is waited for.
	changeTimeout = 10 * time.Second
	awaitPause    = time.Millisecond
)

// Codes of outcomes: what the other half makes an error of its own of.
const (
	outcomeOK        = 0
	outcomeNotLeader = 1
	outcomeUnknown   = 2
	outcomeBusy      = 3
	outcomeRefused   = 4
	outcomeStopped   = 5
)

// --- proposals -------------------------------------------------------------------------------

// takeProposal reads u64 id | u32 length of data | data | extensions.
func (b *bridge) takeProposal(body []byte) error {
	if len(body) < 12 {
		return fmt.Errorf("bridge: a proposal of %d bytes", len(body))
	}
	id, length := binary.LittleEndian.Uint64(body), uint64(binary.LittleEndian.Uint32(body[8:]))
	if length > uint64(len(body)-12) {
		return fmt.Errorf("bridge: proposal %d is shorter than it says", id)
	}
	return b.queue(proposal{id: id, data: body[12 : 12+length], ext: body[12+length:]})
}

func (b *bridge) queue(p proposal) error {
	select {
	case b.proposals <- p:
		return nil
	default:
		return fmt.Errorf("bridge: more than %d proposals are under way", proposalsQueued)
	}
}

// propose hands proposals to Raft in their order, and waits where Raft does.
func (b *bridge) propose() {
	for p := range b.proposals {
		if p.barrier {
			go b.finishBarrier(p.id, b.raft.Barrier(0))
			continue
		}
		b.futures <- pending{p.id, b.raft.ApplyLog(raft.Log{Data: p.data, Extensions: p.ext}, 0)}
	}
}

// settleProposals reports outcomes in the order of the proposals, which is that of their indexes.
func (b *bridge) settleProposals() {
	for p := range b.futures {
		if err := p.future.Error(); err != nil {
			b.outcome(p.id, codeOfProposal(err), 0, []byte(err.Error()))
		} else {
			b.outcome(p.id, outcomeOK, p.future.Index(), nil)
		}
	}
}

// codeOfProposal takes an error for an unknown outcome unless Raft promises that nothing was appended.
func codeOfProposal(err error) byte {
	code := codeOf(err)
	if code == outcomeRefused || code == outcomeStopped {
		return outcomeUnknown
	}
	return code
}

func codeOf(err error) byte {
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return outcomeNotLeader
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return outcomeUnknown
	case errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return outcomeBusy
	case errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, errBridgeClosed):
		return outcomeStopped
	default:
		return outcomeRefused
	}
}

// outcome sends u64 id | u8 code | u64 index | text or JSON.
func (b *bridge) outcome(id uint64, code byte, index uint64, more []byte) {
	body := binary.LittleEndian.AppendUint64(nil, id)
	body = append(body, code)
	body = binary.LittleEndian.AppendUint64(body, index)
	b.send(frameOutcome, append(body, more...))
}

// --- requests --------------------------------------------------------------------------------

// request is everything that is no proposal: u64 id and a JSON object.
type request struct {
	id        uint64
	Operation string `json:"operation"`
	Kind      string `json:"kind"`
	Server    string `json:"server"`
	Address   string `json:"address"`
	Index     uint64 `json:"index"`
}

func (b *bridge) takeRequest(body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("bridge: a request of %d bytes", len(body))
	}
	r := request{id: binary.LittleEndian.Uint64(body)}
	if err := json.Unmarshal(body[8:], &r); err != nil {
		return fmt.Errorf("bridge: request %d: %w", r.id, err)
	}
	if r.Operation == "barrier" {
		return b.queue(proposal{id: r.id, barrier: true})
	}
	b.requests <- r // taken at once: each is answered by a goroutine of its own
	return nil
}

func (b *bridge) answerRequests() {
	for r := range b.requests {
		go b.answer(r)
	}
}

func (b *bridge) answer(r request) {
	index, more, err := b.perform(r)
	b.report(r.id, index, more, err)
}

func (b *bridge) report(id, index uint64, more []byte, err error) {
	if err != nil {
		b.outcome(id, codeOf(err), 0, []byte(err.Error()))
		return
	}
	b.outcome(id, outcomeOK, index, more)
}

func (b *bridge) perform(r request) (uint64, []byte, error) {
	switch r.Operation {
	case "await":
		return b.awaitIndex(r.Index)
	case "change":
		return b.change(r)
	case "transfer":
		return 0, nil, b.transfer(r.Server)
	case "snapshot":
		err := b.raft.Snapshot().Error()
		return b.snapshots.newestIndex(), nil, err
	case "status":
		status, err := b.status()
		return 0, status, err
	case "shutdown":
		b.close()
		return 0, nil, b.raft.Shutdown().Error()
	default:
		return 0, nil, fmt.Errorf("bridge: operation %q is unknown", r.Operation)
	}
}

// finishBarrier reports when everything before the barrier was handed over; the entries up to it left before.
func (b *bridge) finishBarrier(id uint64, future raft.Future) {
	err := future.Error()
	var index uint64
	if err == nil {
		index = future.(raft.IndexFuture).Index()
		b.settle(index)
	}
	b.report(id, index, nil, err)
}

// awaitIndex polls, because Raft tells nobody that it passed a no-op or a barrier.
func (b *bridge) awaitIndex(index uint64) (uint64, []byte, error) {
	for b.settle(b.raft.AppliedIndex()) < index {
		if b.isClosed() {
			return 0, nil, errBridgeClosed
		}
		time.Sleep(awaitPause)
	}
	return index, nil, nil
}

func (b *bridge) change(r request) (uint64, []byte, error) {
	id, address := raft.ServerID(r.Server), raft.ServerAddress(r.Address)
	var future raft.IndexFuture
	switch r.Kind {
	case "ADD_VOTER":
		future = b.raft.AddVoter(id, address, r.Index, changeTimeout)
	case "ADD_NONVOTER":
		future = b.raft.AddNonvoter(id, address, r.Index, changeTimeout)
	case "DEMOTE_VOTER":
		future = b.raft.DemoteVoter(id, r.Index, changeTimeout)
	case "REMOVE_SERVER":
		future = b.raft.RemoveServer(id, r.Index, changeTimeout)
	default:
		return 0, nil, fmt.Errorf("bridge: change %q is unknown", r.Kind)
	}
	if err := future.Error(); err != nil {
		return 0, nil, err
	}
	return b.awaitIndex(future.Index())
}

// transfer refuses a target that could not lead: Raft itself would let a non-voter try.
func (b *bridge) transfer(target string) error {
	if target == "" {
		return b.raft.LeadershipTransfer().Error()
	}
	for _, server := range b.raft.GetConfiguration().Configuration().Servers {
		if string(server.ID) == target && server.Suffrage == raft.Voter {
			return b.raft.LeadershipTransferToServer(server.ID, server.Address).Error()
		}
	}
	return errors.New("cannot find peer: " + target + " is no voter")
}

// --- status ----------------------------------------------------------------------------------

type member struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Suffrage int    `json:"suffrage"`
}

type standing struct {
	state
	FirstIndex         uint64   `json:"first_index"`
	LastIndex          uint64   `json:"last_index"`
	LastTerm           uint64   `json:"last_term"`
	CommitIndex        uint64   `json:"commit_index"`
	SnapshotIndex      uint64   `json:"snapshot_index"`
	SnapshotTerm       uint64   `json:"snapshot_term"`
	Configuration      []member `json:"configuration"`
	ConfigurationIndex uint64   `json:"configuration_index"`
	SyncUs             float64  `json:"sync_us"`
	ContactMs          *int64   `json:"contact_ms"`
}

func (b *bridge) status() ([]byte, error) {
	b.settle(b.raft.AppliedIndex())
	configuration := b.raft.GetConfiguration()
	if err := configuration.Error(); err != nil {
		return nil, err
	}
	first, err := b.logs.FirstIndex()
	if err != nil {
		return nil, err
	}
	stats := b.raft.Stats()
	s := standing{
		state:              b.state(),
		FirstIndex:         first,
		LastIndex:          b.raft.LastIndex(),
		LastTerm:           number(stats["last_log_term"]),
		CommitIndex:        b.raft.CommitIndex(),
		SnapshotIndex:      number(stats["last_snapshot_index"]),
		SnapshotTerm:       number(stats["last_snapshot_term"]),
		ConfigurationIndex: configuration.Index(),
		SyncUs:             syncTimes.medianUs(),
		ContactMs:          b.contact(),
	}
	for _, server := range configuration.Configuration().Servers {
		s.Configuration = append(s.Configuration, member{string(server.ID), string(server.Address), int(server.Suffrage)})
	}
	return json.Marshal(s)
}

func (b *bridge) contact() *int64 {
	age := int64(0)
	if b.raft.State() != raft.Leader {
		last := b.raft.LastContact()
		if last.IsZero() {
			return nil
		}
		age = time.Since(last).Milliseconds()
	}
	return &age
}

func number(text string) uint64 {
	var value uint64
	_, _ = fmt.Sscan(text, &value)
	return value
}
