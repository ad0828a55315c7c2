package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	transport "github.com/Jille/raft-grpc-transport"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"matchengine/engines/hashicorp/internal/membership"
)

const (
	snapshotsKept = 3
	entriesCached = 512
)

// node is HashiCorp Raft with its transport.
type node struct {
	raft      *raft.Raft
	transport *transport.Manager
}

// stores are what Raft keeps on disk.
type stores struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots *snapshotStore
	closers   []io.Closer
}

// segmentBytes is the length of the log's files, each of which takes its room at once.  Every cut of the log's end begins
// a new one, so that the library's own 64 MiB would fill a small disk with hardly any entries.
const segmentBytes = 16 << 20

// openWal opens a write-ahead log, which holds the stable store as well, and snapshots in files; stop hears of the
// first error of either.
func openWal(folder string, stop func(error)) (*stores, error) {
	path := filepath.Join(folder, "wal")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	log, err := wal.Open(path, wal.WithSegmentSize(segmentBytes))
	if err != nil {
		return nil, fmt.Errorf("log store in %s: %w", path, err)
	}
	cache, err := raft.NewLogCache(entriesCached, watchedLog{log, stop})
	if err != nil {
		return nil, err
	}
	snapshots, err := openSnapshots(folder, os.Stderr, stop)
	if err != nil {
		return nil, fmt.Errorf("snapshot store in %s: %w", folder, err)
	}
	return &stores{cache, &stableStore{StableStore: log, stop: stop}, snapshots, []io.Closer{log}}, nil
}

// openNode starts Raft on these stores, and founds a cluster when the settings ask for one.
func openNode(s settings, machine raft.FSM, kept *stores) (*node, error) {
	plain := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	peers := transport.New(raft.ServerAddress(s.address), plain)
	r, err := raft.NewRaft(configure(s), machine, kept.logs, kept.stable, kept.snapshots, peers.Transport())
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	if s.bootstrap {
		if err := membership.Found(r, s.raftID, s.address); err != nil {
			return nil, err
		}
	}
	return &node{r, peers}, nil
}

func configure(s settings) *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(s.raftID)
	config.SnapshotThreshold = s.snapshotThreshold
	config.TrailingLogs = s.trailingLogs
	config.HeartbeatTimeout = s.heartbeatTimeout
	config.ElectionTimeout = s.electionTimeout
	config.LeaderLeaseTimeout = s.leaseTimeout
	config.CommitTimeout = s.commitTimeout
	config.BatchApplyCh = true      // proposals that wait together are written together
	config.ShutdownOnRemove = false // whether a removed node ends is for the other half to say
	return config
}

// undoHalfBootstrap makes a node that was killed while it founded its cluster able to found it: Raft writes the term before
// the first entry, and would then take the term alone for a cluster's.  Who has voted keeps its term.
func undoHalfBootstrap(kept *stores) error {
	last, err := kept.logs.LastIndex()
	if err != nil {
		return err
	}
	term, err := kept.stable.GetUint64([]byte(currentTerm))
	if err != nil {
		return err
	}
	voted, err := kept.stable.GetUint64([]byte(voteTerm))
	if err != nil || last > 0 || term != 1 || voted > 0 || kept.snapshots.newestIndex() > 0 {
		return err
	}
	log.Printf("--raft_bootstrap: was cut short the last time, and is done again")
	return kept.stable.SetUint64([]byte(currentTerm), 0)
}
