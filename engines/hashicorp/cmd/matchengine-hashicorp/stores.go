package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// watchedLog notes how long the log's writes take, each of which ends with a sync, and stops the node at the first
// error: Raft would go on, and try the next write on a disk that is full or broken.
type watchedLog struct {
	raft.LogStore
	stop func(error)
}

// GetLog implements raft.LogStore.  What was compacted is gone, also where the store could still find it in a segment:
// whether a peer gets entries or a snapshot does not depend on where segments end.
func (w watchedLog) GetLog(index uint64, entry *raft.Log) error {
	first, err := w.LogStore.FirstIndex()
	if err == nil && index < first {
		return raft.ErrLogNotFound
	}
	if err == nil {
		err = w.LogStore.GetLog(index, entry)
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		go w.stop(fmt.Errorf("log store: entry %d cannot be read: %w", index, err)) // the caller may hold the bridge
	}
	return err
}

// StoreLog implements raft.LogStore.
func (w watchedLog) StoreLog(entry *raft.Log) error {
	return w.StoreLogs([]*raft.Log{entry})
}

// StoreLogs implements raft.LogStore.
func (w watchedLog) StoreLogs(entries []*raft.Log) error {
	defer syncTimes.add(syncTimes.begin())
	err := w.LogStore.StoreLogs(entries)
	if err != nil {
		w.stop(fmt.Errorf("log store: entry %d cannot be written: %w", entries[0].Index, err))
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (w watchedLog) DeleteRange(first, last uint64) error {
	err := w.LogStore.DeleteRange(first, last)
	if err != nil {
		w.stop(fmt.Errorf("log store: entries %d to %d cannot be deleted: %w", first, last, err))
	}
	return err
}

// IsMonotonic implements raft.MonotonicLogStore: Raft drops the log before one that a snapshot leaves behind.
func (w watchedLog) IsMonotonic() bool {
	store, ok := w.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

var syncTimes durations

// durations are the last ones of something.
type durations struct {
	lock sync.Mutex
	last [128]time.Duration
	seen int

	begun, ended atomic.Uint64
}

func (d *durations) begin() time.Time {
	d.begun.Add(1)
	return time.Now()
}

func (d *durations) add(since time.Time) {
	d.ended.Add(1)
	d.lock.Lock()
	defer d.lock.Unlock()
	d.last[d.seen%len(d.last)] = time.Since(since)
	d.seen++
}

// underWay is the number of the one that has begun and not ended, or 0.
func (d *durations) underWay() uint64 {
	begun := d.begun.Load()
	if d.ended.Load() >= begun {
		return 0
	}
	return begun
}

func (d *durations) medianUs() float64 {
	d.lock.Lock()
	defer d.lock.Unlock()
	known := slices.Clone(d.last[:min(d.seen, len(d.last))])
	if len(known) == 0 {
		return 0
	}
	slices.Sort(known)
	return float64(known[len(known)/2].Nanoseconds()) / 1000
}

// snapshotStore tells a state machine which snapshot it restores, and the bridge which one is the newest.  What cannot
// be written is told to stop.
type snapshotStore struct {
	raft.SnapshotStore
	newest atomic.Uint64
	stop   func(error)
}

func openSnapshots(folder string, logs io.Writer, stop func(error)) (*snapshotStore, error) {
	files, err := raft.NewFileSnapshotStore(folder, snapshotsKept, logs)
	if err != nil {
		return nil, err
	}
	store := &snapshotStore{SnapshotStore: files, stop: stop}
	found, err := files.List()
	if err == nil && len(found) > 0 {
		store.newest.Store(found[0].Index)
	}
	return store, err
}

func (s *snapshotStore) newestIndex() uint64 {
	return s.newest.Load()
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, transport raft.Transport,
) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
	if err != nil {
		s.stop(fmt.Errorf("snapshot store: no snapshot can be begun: %w", err))
		return nil, err
	}
	return &notedSink{sink, s, index}, nil
}

// Open implements raft.SnapshotStore.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, source, err := s.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	return meta, &describedSnapshot{source, meta}, nil
}

type notedSink struct {
	raft.SnapshotSink
	store *snapshotStore
	index uint64
}

// Write implements raft.SnapshotSink.
func (n *notedSink) Write(data []byte) (int, error) {
	written, err := n.SnapshotSink.Write(data)
	if err != nil {
		n.store.stop(fmt.Errorf("snapshot store: snapshot %d cannot be written: %w", n.index, err))
	}
	return written, err
}

// Close implements raft.SnapshotSink.
func (n *notedSink) Close() error {
	if err := n.SnapshotSink.Close(); err != nil {
		n.store.stop(fmt.Errorf("snapshot store: snapshot %d cannot be finished: %w", n.index, err))
		return err
	}
	n.store.newest.Store(n.index)
	return nil
}

type describedSnapshot struct {
	io.ReadCloser
	meta *raft.SnapshotMeta
}

// metaOf says which snapshot this is: Raft hands the bytes alone to a state machine, behind a counter of its own.
func metaOf(source io.ReadCloser) (*raft.SnapshotMeta, error) {
	for {
		switch found := source.(type) {
		case *describedSnapshot:
			return found.meta, nil
		case raft.ReadCloserWrapper:
			source = found.WrappedReadCloser()
		default:
			return nil, errors.New("restore: Raft does not say which snapshot it restores")
		}
	}
}
