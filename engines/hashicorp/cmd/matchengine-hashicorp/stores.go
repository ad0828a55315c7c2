package main

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// timedLog notes how long the log's writes take, each of which ends with a sync.
type timedLog struct {
	raft.LogStore
}

// GetLog implements raft.LogStore.  What was compacted is gone, also where the store could still find it in a segment:
// whether a peer gets entries or a snapshot does not depend on where segments end.
func (t timedLog) GetLog(index uint64, entry *raft.Log) error {
	first, err := t.LogStore.FirstIndex()
	if err != nil {
		return err
	}
	if index < first {
		return raft.ErrLogNotFound
	}
	return t.LogStore.GetLog(index, entry)
}

// StoreLog implements raft.LogStore.
func (t timedLog) StoreLog(entry *raft.Log) error {
	return t.StoreLogs([]*raft.Log{entry})
}

// StoreLogs implements raft.LogStore.
func (t timedLog) StoreLogs(entries []*raft.Log) error {
	defer syncTimes.add(time.Now())
	return t.LogStore.StoreLogs(entries)
}

// IsMonotonic implements raft.MonotonicLogStore: Raft drops the log before one that a snapshot leaves behind.
func (t timedLog) IsMonotonic() bool {
	store, ok := t.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

var syncTimes durations

// durations are the last ones of something.
type durations struct {
	lock sync.Mutex
	last [128]time.Duration
	seen int
}

func (d *durations) add(since time.Time) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.last[d.seen%len(d.last)] = time.Since(since)
	d.seen++
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

// snapshotStore tells a state machine which snapshot it restores, and the bridge which one is the newest.
type snapshotStore struct {
	raft.SnapshotStore
	newest atomic.Uint64
}

func openSnapshots(folder string, logs io.Writer) (*snapshotStore, error) {
	files, err := raft.NewFileSnapshotStore(folder, snapshotsKept, logs)
	if err != nil {
		return nil, err
	}
	store := &snapshotStore{SnapshotStore: files}
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

// Close implements raft.SnapshotSink.
func (n *notedSink) Close() error {
	err := n.SnapshotSink.Close()
	if err == nil {
		n.store.newest.Store(n.index)
	}
	return err
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
