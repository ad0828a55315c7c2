package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// entriesTarget is where a frame of entries ends, so that the other half acknowledges large batches in parts.
	entriesTarget = 1 << 20
	// proposalsQueued is what the other half may have under way, barriers among them; it counts them itself.
	proposalsQueued = 64<<10 + 8<<10

	// lastWords bounds the time in which a half that stops may say why to one that does not listen.
	lastWords = time.Second

	exitOrphaned = 3
	exitBroken   = 4
)

var errBridgeClosed = errors.New("the bridge is closed")

// bridge is the state machine that lives in the other process: it hands over committed entries in order, each index
// once, and takes what that process wants of Raft.
//
// Rules of this file: entries leave under the lock, and through is the last index that left, so the stream of frames
// has every index from the restored snapshot on, exactly once.  Nothing of the state is kept here.
type bridge struct {
	node   string
	socket string
	conn   net.Conn
	reader *bufio.Reader

	raft      *raft.Raft
	logs      raft.LogStore
	snapshots *snapshotStore

	lock      sync.Mutex // of writer, through and restoring
	writer    *bufio.Writer
	through   uint64
	restoring bool // no entry leaves: the state on its way is newer than all that could
	flushing  chan struct{}

	progress sync.Mutex // of what is below
	moved    *sync.Cond
	applied  uint64
	captured uint64
	answered uint64 // the last ping
	closed   bool

	running atomic.Bool // raft is there

	captures  uint64
	proposals chan proposal
	futures   chan pending
	requests  chan request
}

// proposal is a command or a barrier: both keep the order in which they were asked for.
type proposal struct {
	id      uint64
	data    []byte
	ext     []byte
	barrier bool
}

type pending struct {
	id     uint64
	future raft.ApplyFuture
}

// dialBridge connects to the process that started this one.
func dialBridge(folder, node string) (*bridge, error) {
	socket, err := shortPath(folder, "bridge")
	if err != nil {
		return nil, fmt.Errorf("--bridge: %w", err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("--bridge: %w", err)
	}
	b := &bridge{
		node:      node,
		socket:    socket,
		conn:      conn,
		reader:    bufio.NewReaderSize(conn, 256<<10),
		writer:    bufio.NewWriterSize(conn, 256<<10),
		flushing:  make(chan struct{}, 1),
		proposals: make(chan proposal, proposalsQueued),
		futures:   make(chan pending, proposalsQueued),
		requests:  make(chan request, 1024),
	}
	b.moved = sync.NewCond(&b.progress)
	if err := greet(conn, b.reader, hello{Node: node, Purpose: "control"}); err != nil {
		return nil, err
	}
	go b.flush()
	return b, nil
}

// shortPath names a file of a folder whatever the folder's length: a socket's own path has at most 107 bytes.
func shortPath(folder, name string) (string, error) {
	opened, err := os.Open(folder)
	if err != nil {
		return "", err
	}
	// The descriptor stays open for as long as the process lives: the path goes through it.
	keptOpen = append(keptOpen, opened)
	return fmt.Sprintf("/proc/self/fd/%d/%s", opened.Fd(), name), nil
}

var keptOpen []*os.File

// serve says that Raft runs, and does from now on what the other half asks for.
func (b *bridge) serve(r *raft.Raft) {
	b.raft = r
	b.running.Store(true)
	go b.propose()
	go b.settleProposals()
	go b.watch()
	go b.answerRequests()
	b.send(frameReady, nil)
}

// listen takes acknowledgements from the first moment on: Raft restores its snapshot before it runs.
func (b *bridge) listen() {
	for {
		kind, body, err := readFrame(b.reader)
		if err != nil {
			b.orphaned(err)
		}
		if err := b.take(kind, body); err != nil {
			b.fail(err)
		}
	}
}

func (b *bridge) take(kind byte, body []byte) error {
	switch kind {
	case frameApplied, frameCaptured, framePong:
		if len(body) != 8 {
			return fmt.Errorf("bridge: kind %d has %d bytes", kind, len(body))
		}
		b.note(kind, binary.LittleEndian.Uint64(body))
		return nil
	case framePropose:
		return b.takeProposal(body)
	case frameRequest:
		return b.takeRequest(body)
	default:
		return fmt.Errorf("bridge: frames of kind %d mean nothing here", kind)
	}
}

func (b *bridge) note(kind byte, value uint64) {
	b.progress.Lock()
	defer b.progress.Unlock()
	switch kind {
	case frameApplied:
		b.applied = value
	case frameCaptured:
		b.captured = value
	default:
		b.answered = value
	}
	b.moved.Broadcast()
}

// await waits until reached says so; false when the bridge closes first.
func (b *bridge) await(reached func() bool) bool {
	b.progress.Lock()
	defer b.progress.Unlock()
	for !b.closed && !reached() {
		b.moved.Wait()
	}
	return !b.closed
}

// close ends every wait: nothing is handed over any more.
func (b *bridge) close() {
	b.progress.Lock()
	defer b.progress.Unlock()
	b.closed = true
	b.moved.Broadcast()
}

func (b *bridge) isClosed() bool {
	b.progress.Lock()
	defer b.progress.Unlock()
	return b.closed
}

// orphaned ends this process with the other; after a shutdown that was asked for, in peace.
func (b *bridge) orphaned(err error) {
	if b.isClosed() {
		os.Exit(0)
	}
	log.Printf("the state machine's process is gone (%v); nothing is left to do here", err)
	os.Exit(exitOrphaned)
}

// fail says why and ends the process: what it would do next could be wrong.
func (b *bridge) fail(err error) {
	// The other half may not listen, and whoever holds the lock may wait for it or for a disk.
	time.AfterFunc(lastWords, func() { os.Exit(exitBroken) })
	log.Printf("stopping: %v", err)
	b.lock.Lock()
	_ = writeFrame(b.writer, frameFailure, []byte(err.Error()))
	_ = b.writer.Flush()
	os.Exit(exitBroken)
}

// --- sending ---------------------------------------------------------------------------------

func (b *bridge) send(kind byte, body []byte) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.write(kind, body)
}

// write needs the lock.  An error means that the other half is gone, which listen learns as well.
func (b *bridge) write(kind byte, body []byte) {
	_ = writeFrame(b.writer, kind, body)
	select {
	case b.flushing <- struct{}{}:
	default:
	}
}

// flush empties the buffer whenever something was written: frames that come together leave together.
func (b *bridge) flush() {
	for range b.flushing {
		b.lock.Lock()
		_ = b.writer.Flush()
		b.lock.Unlock()
	}
}

func (b *bridge) sendJSON(kind byte, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		b.fail(err)
	}
	b.send(kind, body)
}

// --- entries ---------------------------------------------------------------------------------

// Apply implements raft.FSM; Raft calls ApplyBatch instead.
func (b *bridge) Apply(entry *raft.Log) any {
	return b.ApplyBatch([]*raft.Log{entry})[0]
}

// ApplyBatch implements raft.BatchingFSM: it returns when the other half has applied all of them.
// The answers stay there: whoever proposed is there as well.
func (b *bridge) ApplyBatch(entries []*raft.Log) []any {
	last := entries[len(entries)-1].Index
	b.handOver(entries)
	b.await(func() bool { return b.applied >= last })
	return make([]any, len(entries))
}

func (b *bridge) handOver(entries []*raft.Log) {
	b.lock.Lock()
	defer b.lock.Unlock()
	var batch entryBatch
	for _, entry := range entries {
		if entry.Index <= b.through {
			b.failLocked(fmt.Errorf("entry %d would be applied twice: %d was handed over already", entry.Index, b.through))
		}
		for b.through+1 < entry.Index {
			b.pass(&batch, b.through+1)
		}
		b.add(&batch, entry)
	}
	b.writeBatch(&batch)
}

// pass adds an entry that Raft keeps to itself; a command there would have been skipped.
func (b *bridge) pass(batch *entryBatch, index uint64) {
	entry, err := b.silent(index)
	if err != nil {
		b.failLocked(fmt.Errorf("entry %d would be skipped: %w", index, err))
	}
	b.add(batch, entry)
}

// silent gives the no-op or barrier at this index, without its data.
func (b *bridge) silent(index uint64) (*raft.Log, error) {
	var entry raft.Log
	err := b.logs.GetLog(index, &entry)
	if errors.Is(err, raft.ErrLogNotFound) && index <= b.snapshots.newestIndex() {
		return &raft.Log{Index: index, Type: raft.LogNoop}, nil // compacted; the snapshot has what was before it
	}
	if err != nil {
		return nil, err
	}
	if entry.Type != raft.LogNoop && entry.Type != raft.LogBarrier {
		return nil, fmt.Errorf("it is a %v", entry.Type)
	}
	return &raft.Log{Index: index, Term: entry.Term, Type: entry.Type}, nil
}

// settle hands over no-ops and barriers at the end of what Raft has applied: nothing else would move the index there.
func (b *bridge) settle(upTo uint64) uint64 {
	b.lock.Lock()
	defer b.lock.Unlock()
	var batch entryBatch
	for b.through < upTo && !b.restoring {
		entry, err := b.silent(b.through + 1)
		if err != nil {
			break // a command, whose turn comes
		}
		b.add(&batch, entry)
	}
	b.writeBatch(&batch)
	return b.through
}

func (b *bridge) failLocked(err error) {
	b.lock.Unlock()
	b.fail(err)
}

// add needs the lock.
func (b *bridge) add(batch *entryBatch, entry *raft.Log) {
	batch.add(entry)
	b.through = entry.Index
	if len(batch.body) >= entriesTarget {
		b.writeBatch(batch)
	}
}

func (b *bridge) writeBatch(batch *entryBatch) {
	if batch.count > 0 {
		b.write(frameEntries, batch.take())
	}
}

// entryBatch is the body of a frame: u32 count, then per entry
//
//	u64 index | u64 term | u8 type | i64 appended at, ns | u32 length of data | u32 length of extensions | data | extensions
type entryBatch struct {
	count uint32
	body  []byte
}

func (e *entryBatch) add(entry *raft.Log) {
	if e.count == 0 {
		e.body = make([]byte, 4, 4096)
	}
	e.count++
	var stamp int64
	if !entry.AppendedAt.IsZero() {
		stamp = entry.AppendedAt.UnixNano()
	}
	body := binary.LittleEndian.AppendUint64(e.body, entry.Index)
	body = binary.LittleEndian.AppendUint64(body, entry.Term)
	body = append(body, byte(entry.Type))
	body = binary.LittleEndian.AppendUint64(body, uint64(stamp))
	body = binary.LittleEndian.AppendUint32(body, uint32(len(entry.Data)))
	body = binary.LittleEndian.AppendUint32(body, uint32(len(entry.Extensions)))
	body = append(body, entry.Data...)
	e.body = append(body, entry.Extensions...)
}

func (e *entryBatch) take() []byte {
	body := e.body
	binary.LittleEndian.PutUint32(body, e.count)
	*e = entryBatch{}
	return body
}

// --- standing --------------------------------------------------------------------------------

type state struct {
	Role          string `json:"role"`
	Term          uint64 `json:"term"`
	LeaderID      string `json:"leader_id"`
	LeaderAddress string `json:"leader_address"`
}

func (b *bridge) state() state {
	address, id := b.raft.LeaderWithID()
	return state{b.raft.State().String(), number(b.raft.Stats()["term"]), string(id), string(address)}
}

// watch tells the other half of every change of role, term and leader.
func (b *bridge) watch() {
	changes := make(chan raft.Observation, 16)
	b.raft.RegisterObserver(raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.RaftState, raft.LeaderObservation:
			return true
		}
		return false
	}))
	b.sendJSON(frameState, b.state())
	for range changes {
		b.sendJSON(frameState, b.state())
	}
}
