// Command raftlog prints what a stopped node on HashiCorp Raft has on disk: a line of JSON for its snapshot and for
// each entry of its log.
//
//	raftlog DATA/nodeA
package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb"
)

// line is one entry, or the newest snapshot, whose kind is "snapshot" and whose data is the state.
type line struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	Kind  string `json:"kind"`
	Data  string `json:"data"`
}

// kinds are the names of log types, which the oldest versions of HashiCorp Raft do not tell.
var kinds = map[raft.LogType]string{
	raft.LogCommand:       "LogCommand",
	raft.LogNoop:          "LogNoop",
	raft.LogBarrier:       "LogBarrier",
	raft.LogConfiguration: "LogConfiguration",
}

func nameOf(kind raft.LogType) string {
	if name, ok := kinds[kind]; ok {
		return name
	}
	return fmt.Sprintf("type %d", kind)
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: raftlog DIRECTORY-OF-A-NODE")
	}
	output := json.NewEncoder(os.Stdout)
	if err := errors.Join(printSnapshot(os.Args[1], output), printLog(os.Args[1], output)); err != nil {
		log.Fatalf("raftlog: %v", err)
	}
}

func printSnapshot(folder string, output *json.Encoder) error {
	store, err := raft.NewFileSnapshotStore(folder, 1, io.Discard)
	if err != nil {
		return err
	}
	found, err := store.List()
	if err != nil || len(found) == 0 {
		return err
	}
	meta, source, err := store.Open(found[0].ID)
	if err != nil {
		return err
	}
	defer source.Close()
	state, err := io.ReadAll(source)
	if err != nil {
		return err
	}
	return output.Encode(line{meta.Index, meta.Term, "snapshot", hex.EncodeToString(state)})
}

func printLog(folder string, output *json.Encoder) error {
	store, err := boltdb.NewBoltStore(filepath.Join(folder, "logs.dat"))
	if err != nil {
		return err
	}
	defer store.Close()
	first, err := store.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	last, err := store.LastIndex()
	if err != nil {
		return err
	}
	for index := first; index <= last; index++ {
		var entry raft.Log
		err := store.GetLog(index, &entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue // a snapshot from a leader leaves a hole between the trailing entries and what follows it
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if err := output.Encode(line{index, entry.Term, nameOf(entry.Type), hex.EncodeToString(entry.Data)}); err != nil {
			return err
		}
	}
	return nil
}
