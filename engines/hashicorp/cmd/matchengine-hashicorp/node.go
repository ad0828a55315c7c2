package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	transport "github.com/Jille/raft-grpc-transport"
	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb"
	wal "github.com/hashicorp/raft-wal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	snapshotsKept = 3
	entriesCached = 512
)

// node is HashiCorp Raft with its stores and its transport.
type node struct {
	raft      *raft.Raft
	transport *transport.Manager
	stores    *stores
}

// stores are what Raft keeps on disk.
type stores struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots *snapshotStore
	closers   []io.Closer
}

// openBolt opens what HashiCorp Raft's gRPC example has: a log and a stable store in boltdb, snapshots in files.
func openBolt(folder string) (*stores, error) {
	if err := claim(folder); err != nil {
		return nil, err
	}
	logs, err := boltdb.NewBoltStore(filepath.Join(folder, "logs.dat"))
	if err != nil {
		return nil, fmt.Errorf("log store in %s: %w", folder, err)
	}
	stable, err := boltdb.NewBoltStore(filepath.Join(folder, "stable.dat"))
	if err != nil {
		return nil, fmt.Errorf("stable store in %s: %w", folder, err)
	}
	snapshots, err := openSnapshots(folder, os.Stderr, func(error) {}) // as the original: Raft says it and goes on
	if err != nil {
		return nil, fmt.Errorf("snapshot store in %s: %w", folder, err)
	}
	return &stores{logs, stable, snapshots, []io.Closer{logs, stable}}, nil
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
		if err := bootstrap(r, s); err != nil {
			return nil, err
		}
	}
	return &node{r, peers, kept}, nil
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
	if s.stateMachine == "bridge" {
		config.BatchApplyCh = true      // proposals that wait together are written together
		config.ShutdownOnRemove = false // whether a removed node ends is for the other half to say
	}
	return config
}

// claim makes the node's directory, and refuses one that a node of the other engine owns.
func claim(folder string) error {
	if _, err := os.Stat(filepath.Join(folder, "node.json")); err == nil {
		return fmt.Errorf("%s: the directory belongs to another engine (it has a node.json); choose an empty one", folder)
	}
	return os.MkdirAll(folder, 0o755)
}

// bootstrap founds a cluster; doing so again is no error, so that the flag may stay in a start script.
func bootstrap(r *raft.Raft, s settings) error {
	self := raft.Server{ID: raft.ServerID(s.raftID), Address: raft.ServerAddress(s.address)}
	err := r.BootstrapCluster(raft.Configuration{Servers: []raft.Server{self}}).Error()
	if errors.Is(err, raft.ErrCantBootstrap) {
		log.Printf("--raft_bootstrap: the node has a cluster already; nothing to do")
		return nil
	}
	return err
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

func (n *node) handOver() {
	if n.raft.State() != raft.Leader {
		return
	}
	if err := n.raft.LeadershipTransfer().Error(); err != nil {
		log.Printf("leadership was not handed over: %v", err)
	}
}

func (n *node) close() error {
	errs := []error{n.raft.Shutdown().Error()}
	for _, store := range n.stores.closers {
		errs = append(errs, store.Close())
	}
	return errors.Join(errs...)
}
