package main

import (
	"bufio"
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestNoEntryLeavesWhileAStateIsRestored: a read or a status would send the barrier behind the newer state.
func TestNoEntryLeavesWhileAStateIsRestored(t *testing.T) {
	logs := raft.NewInmemStore()
	for index := uint64(1); index <= 2; index++ {
		if err := logs.StoreLog(&raft.Log{Index: index, Term: 1, Type: raft.LogBarrier}); err != nil {
			t.Fatal(err)
		}
	}
	sent := &bytes.Buffer{}
	b := &bridge{logs: logs, snapshots: &snapshotStore{}, writer: bufio.NewWriter(sent), flushing: make(chan struct{}, 1)}
	b.moved = sync.NewCond(&b.progress)
	if through := b.settle(1); through != 1 {
		t.Fatalf("entry 1 has not left: %d", through)
	}
	begun := make(chan bool, 1)
	go func() { begun <- b.beginRestore() }()
	select {
	case <-begun:
		t.Fatal("a restore has begun before entry 1 was applied")
	case <-time.After(50 * time.Millisecond):
	}
	before := b.writer.Buffered()
	if through := b.settle(2); through != 1 || b.writer.Buffered() != before {
		t.Fatalf("entries up to %d have left during a restore", through)
	}
	b.note(frameApplied, 1)
	if !<-begun {
		t.Fatal("the restore has not begun")
	}
	b.endRestore(0)
	if through := b.settle(2); through != 2 {
		t.Fatalf("after a restore that failed: %d", through)
	}
	b.endRestore(9)
	if through := b.settle(2); through != 9 {
		t.Fatalf("after a restore: %d", through)
	}
}
