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
	"google.golang.org/grpc/credentials/insecure"
)

const snapshotsKept = 3

// node is HashiCorp Raft with its stores and its transport.
type node struct {
	raft      *raft.Raft
	transport *transport.Manager
	stores    []*boltdb.BoltStore
}

// openNode starts Raft on the directory of this node, and founds a cluster when the settings ask for one.
func openNode(s settings, machine raft.FSM) (*node, error) {
	folder := filepath.Join(s.dataDir, s.raftID)
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
	snapshots, err := raft.NewFileSnapshotStore(folder, snapshotsKept, os.Stderr)
	if err != nil {
		return nil, fmt.Errorf("snapshot store in %s: %w", folder, err)
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(s.raftID)
	config.SnapshotThreshold = s.snapshotThreshold
	config.TrailingLogs = s.trailingLogs
	plain := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	peers := transport.New(raft.ServerAddress(s.address), plain)
	r, err := raft.NewRaft(config, machine, logs, stable, snapshots, peers.Transport())
	if err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	if s.bootstrap {
		if err := bootstrap(r, s); err != nil {
			return nil, err
		}
	}
	return &node{r, peers, []*boltdb.BoltStore{logs, stable}}, nil
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
	for _, store := range n.stores {
		errs = append(errs, store.Close())
	}
	return errors.Join(errs...)
}
