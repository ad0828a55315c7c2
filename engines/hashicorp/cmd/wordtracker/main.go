// Command wordtracker keeps the three longest words on HashiCorp Raft: log in boltdb, snapshots in files, peers over gRPC.
//
//	wordtracker --raft_bootstrap --raft_id=nodeA --address=localhost:50051 --raft_data_dir DIR
//
// It is built against every version of HashiCorp Raft in versions/, so it uses what all of them and their gRPC have.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/Jille/raft-grpc-leader-rpc/leaderhealth"
	"github.com/Jille/raftadmin"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
)

func main() {
	settings, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = serve(settings)
	}
	if err != nil {
		log.Fatalf("wordtracker: %v", err)
	}
}

// settings are what the command line says; the names of the first four are those of HashiCorp Raft's gRPC example.
type settings struct {
	raftID    string
	address   string
	dataDir   string
	bootstrap bool
	audit     string
	raft      *raft.Config
}

func parse(arguments []string) (settings, error) {
	s := settings{raft: raft.DefaultConfig()}
	flags := flag.NewFlagSet("wordtracker", flag.ContinueOnError)
	flags.StringVar(&s.raftID, "raft_id", "", "id of this node")
	flags.StringVar(&s.address, "address", "localhost:50051", "host:port to listen on, which is what peers are told")
	flags.StringVar(&s.dataDir, "raft_data_dir", "data", "folder that holds the node's own, DATA/ID")
	flags.BoolVar(&s.bootstrap, "raft_bootstrap", false, "found a cluster with this node as its only voter")
	flags.StringVar(&s.audit, "audit", "", "file that gets a line for every applied command: index, term, hex of the data")
	flags.DurationVar(&s.raft.HeartbeatTimeout, "heartbeat_timeout", s.raft.HeartbeatTimeout, "HeartbeatTimeout of HashiCorp Raft")
	flags.DurationVar(&s.raft.ElectionTimeout, "election_timeout", s.raft.ElectionTimeout, "its ElectionTimeout")
	flags.DurationVar(&s.raft.LeaderLeaseTimeout, "leader_lease_timeout", s.raft.LeaderLeaseTimeout, "its LeaderLeaseTimeout")
	flags.DurationVar(&s.raft.CommitTimeout, "commit_timeout", s.raft.CommitTimeout, "its CommitTimeout")
	flags.Uint64Var(&s.raft.SnapshotThreshold, "snapshot_threshold", s.raft.SnapshotThreshold, "entries after which a snapshot is taken")
	flags.Uint64Var(&s.raft.TrailingLogs, "trailing_logs", s.raft.TrailingLogs, "entries that stay in the log behind a snapshot")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("%q: no such argument; see --help", flags.Arg(0))
	case s.raftID == "":
		return s, errors.New("--raft_id: is missing; a node needs an id")
	}
	s.raft.LocalID = raft.ServerID(s.raftID)
	return s, nil
}

func serve(s settings) error {
	socket, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("--address: %w", err)
	}
	words, err := newWordTracker(s.audit)
	if err != nil {
		return err
	}
	node, err := openNode(s, filepath.Join(s.dataDir, s.raftID), words)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	node.transport.Register(server)
	registerExample(server, node.raft, words)
	leaderhealth.Setup(node.raft, server, []string{"Example"})
	raftadmin.Register(server, node.raft)
	reflection.Register(server)
	go stopOnSignal(node, server)
	if err := server.Serve(socket); err != nil {
		return err
	}
	return node.close()
}

// stopOnSignal hands leadership over before the server ends, as a rolling restart wants it.
func stopOnSignal(n *node, server *grpc.Server) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
	n.handOver()
	server.Stop()
}
