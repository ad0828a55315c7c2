package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	transport "github.com/Jille/raft-grpc-transport"
	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb"
	"google.golang.org/grpc"

	"matchengine/engines/hashicorp/internal/membership"
)

const snapshotsKept = 3

// node is HashiCorp Raft with its stores and its transport.
type node struct {
	raft      *raft.Raft
	transport *transport.Manager
	logs      *boltdb.BoltStore
	stable    *boltdb.BoltStore
}

// openNode starts Raft on what HashiCorp Raft's gRPC example has: a log and a stable store in boltdb, snapshots in files.
func openNode(s settings, folder string, machine raft.FSM) (*node, error) {
	if err := membership.Claim(folder); err != nil {
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
	snapshots, err := raft.NewFileSnapshotStore(folder, snapshotsKept, os.Stderr)
	if err != nil {
		return nil, fmt.Errorf("snapshot store in %s: %w", folder, err)
	}
	// Deprecated since gRPC has a package for it, which the oldest versions lack.
	peers := transport.New(raft.ServerAddress(s.address), []grpc.DialOption{grpc.WithInsecure()})
	r, err := raft.NewRaft(s.raft, machine, logs, stable, snapshots, peers.Transport())
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	if s.bootstrap {
		if err := membership.Found(r, s.raftID, s.address); err != nil {
			return nil, err
		}
	}
	return &node{r, peers, logs, stable}, nil
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
	return errors.Join(n.raft.Shutdown().Error(), n.logs.Close(), n.stable.Close())
}
