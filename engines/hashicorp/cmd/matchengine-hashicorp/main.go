// Command matchengine-hashicorp is a node on HashiCorp Raft: log in boltdb, snapshots in files, peers over gRPC.
//
//	matchengine-hashicorp --raft_bootstrap --raft_id=nodeA --address=localhost:50051 --raft_data_dir DIR
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
	"time"

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
	switch {
	case err != nil:
	case settings.stateMachine == "bridge":
		err = serveBridged(settings)
	default:
		err = serve(settings)
	}
	if err != nil {
		log.Fatalf("matchengine-hashicorp: %v", err)
	}
}

// settings are what the command line says; the names of the first four are those of HashiCorp Raft's gRPC example.
type settings struct {
	raftID            string
	address           string
	dataDir           string
	bootstrap         bool
	stateMachine      string
	audit             string
	snapshotThreshold uint64
	trailingLogs      uint64
	bridge            string
	listen            string
	heartbeatTimeout  time.Duration
	electionTimeout   time.Duration
	leaseTimeout      time.Duration
	commitTimeout     time.Duration
	patience          time.Duration
}

func (s settings) listenAddress() string {
	if s.listen != "" {
		return s.listen
	}
	return s.address
}

func parse(arguments []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("matchengine-hashicorp", flag.ContinueOnError)
	flags.StringVar(&s.raftID, "raft_id", "", "id of this node")
	flags.StringVar(&s.address, "address", "localhost:50051", "host:port to listen on, which is what peers are told")
	flags.StringVar(&s.dataDir, "raft_data_dir", "data", "folder that holds the node's own, DATA/ID")
	flags.BoolVar(&s.bootstrap, "raft_bootstrap", false, "found a cluster with this node as its only voter")
	flags.StringVar(&s.listen, "listen", "", "host:port to listen on, if it is not --address (fsm bridge)")
	flags.StringVar(&s.stateMachine, "fsm", "words", "state machine: words, or bridge: the one of the process that starts this one")
	flags.StringVar(&s.bridge, "bridge", "", "folder with the sockets of that process")
	defaults := raft.DefaultConfig()
	flags.DurationVar(&s.heartbeatTimeout, "heartbeat_timeout", defaults.HeartbeatTimeout, "HeartbeatTimeout of HashiCorp Raft")
	flags.DurationVar(&s.electionTimeout, "election_timeout", defaults.ElectionTimeout, "its ElectionTimeout")
	flags.DurationVar(&s.leaseTimeout, "leader_lease_timeout", defaults.LeaderLeaseTimeout, "its LeaderLeaseTimeout")
	flags.DurationVar(&s.commitTimeout, "commit_timeout", defaults.CommitTimeout, "its CommitTimeout")
	flags.DurationVar(&s.patience, "patience", 2*defaults.ElectionTimeout, "silence of that process after which a leader hands over (fsm bridge)")
	flags.StringVar(&s.audit, "audit", "", "file that gets a line for every applied command: index, term, hex of the data")
	flags.Uint64Var(&s.snapshotThreshold, "snapshot_threshold", 8192, "entries after which a snapshot is taken")
	flags.Uint64Var(&s.trailingLogs, "trailing_logs", 10240, "entries that stay in the log behind a snapshot")
	if err := flags.Parse(arguments); err != nil {
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("%q: no such argument; see --help", flags.Arg(0))
	case s.raftID == "":
		return s, errors.New("--raft_id: is missing; a node needs an id")
	case s.stateMachine != "words" && s.stateMachine != "bridge":
		return s, fmt.Errorf("--fsm: %q is neither words nor bridge", s.stateMachine)
	case (s.stateMachine == "bridge") != (s.bridge != ""):
		return s, errors.New("--bridge: belongs to --fsm bridge, which is what matchengine node --engine hashicorp starts")
	}
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
	stores, err := openBolt(filepath.Join(s.dataDir, s.raftID))
	if err != nil {
		return err
	}
	node, err := openNode(s, words, stores)
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
