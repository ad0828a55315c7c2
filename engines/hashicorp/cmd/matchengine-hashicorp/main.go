// Command matchengine-hashicorp is HashiCorp Raft for a node whose state machine and services are in the process that starts
// this one: matchengine node --engine hashicorp.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/hashicorp/raft"
)

func main() {
	settings, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = serveBridged(settings)
	}
	if err != nil {
		log.Fatalf("matchengine-hashicorp: %v", err)
	}
}

// settings are what the command line says.
type settings struct {
	raftID            string
	address           string
	dataDir           string
	bootstrap         bool
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
	flags.StringVar(&s.address, "address", "localhost:50051", "host:port that peers are told")
	flags.StringVar(&s.dataDir, "raft_data_dir", "data", "folder for log, votes and snapshots")
	flags.BoolVar(&s.bootstrap, "raft_bootstrap", false, "found a cluster with this node as its only voter")
	flags.StringVar(&s.listen, "listen", "", "host:port to listen on, if it is not --address")
	flags.StringVar(&s.bridge, "bridge", "", "folder with the sockets of the process that starts this one")
	defaults := raft.DefaultConfig()
	flags.DurationVar(&s.heartbeatTimeout, "heartbeat_timeout", defaults.HeartbeatTimeout, "HeartbeatTimeout of HashiCorp Raft")
	flags.DurationVar(&s.electionTimeout, "election_timeout", defaults.ElectionTimeout, "its ElectionTimeout")
	flags.DurationVar(&s.leaseTimeout, "leader_lease_timeout", defaults.LeaderLeaseTimeout, "its LeaderLeaseTimeout")
	flags.DurationVar(&s.commitTimeout, "commit_timeout", defaults.CommitTimeout, "its CommitTimeout")
	flags.DurationVar(&s.patience, "patience", 2*defaults.ElectionTimeout, "silence of that process after which a leader hands over")
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
	case s.bridge == "":
		return s, errors.New("--bridge: is missing; matchengine node --engine hashicorp starts this program")
	}
	return s, nil
}
