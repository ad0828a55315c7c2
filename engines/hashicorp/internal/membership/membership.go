// Package membership has what every node on HashiCorp Raft does as a member of a cluster.
package membership

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// Claim makes the node's directory, and refuses one that a node of the other engine owns.
func Claim(folder string) error {
	if _, err := os.Stat(filepath.Join(folder, "node.json")); err == nil {
		return fmt.Errorf("%s: the directory belongs to another engine (it has a node.json); choose an empty one", folder)
	}
	return os.MkdirAll(folder, 0o755)
}

// Found makes the node the only voter of a new cluster; doing so again is no error, so that the flag may stay in a start
// script.
func Found(r *raft.Raft, id, address string) error {
	self := raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(address)}
	err := r.BootstrapCluster(raft.Configuration{Servers: []raft.Server{self}}).Error()
	if errors.Is(err, raft.ErrCantBootstrap) {
		log.Printf("--raft_bootstrap: the node has a cluster already; nothing to do")
		return nil
	}
	return err
}
