package main

import (
	"io"
	"testing"

	"github.com/hashicorp/raft"
)

// TestABootstrapThatWasCutShortIsDoneAgain: a term alone is what a kill between Raft's two writes leaves.
func TestABootstrapThatWasCutShortIsDoneAgain(t *testing.T) {
	for _, c := range []struct {
		name              string
		term, vote, entry uint64
		founded           bool
	}{
		{"nothing", 0, 0, 0, true},
		{"a term", 1, 0, 0, true},
		{"a term and a vote", 1, 1, 0, false},
		{"a later term", 2, 0, 0, false},
		{"a cluster", 1, 0, 1, false},
	} {
		kept := openedWal(t)
		mustSet(t, kept.stable, currentTerm, c.term)
		mustSet(t, kept.stable, voteTerm, c.vote)
		if c.vote > 0 {
			if err := kept.stable.Set([]byte(voteCandidate), []byte("b")); err != nil {
				t.Fatal(err)
			}
		}
		if c.entry > 0 {
			if err := kept.logs.StoreLog(&raft.Log{Index: 1, Term: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := undoHalfBootstrap(kept); err != nil {
			t.Fatal(err)
		}
		exists, err := raft.HasExistingState(kept.logs, kept.stable, kept.snapshots)
		if err != nil || exists == c.founded {
			t.Errorf("%s: there is state: %v (%v)", c.name, exists, err)
		}
	}
}

func openedWal(t *testing.T) *stores {
	t.Helper()
	kept, err := openWal(t.TempDir(), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(kept.closers) })
	return kept
}

func closeAll(closers []io.Closer) {
	for _, closer := range closers {
		_ = closer.Close()
	}
}

func mustSet(t *testing.T, stable raft.StableStore, key string, value uint64) {
	t.Helper()
	if err := stable.SetUint64([]byte(key), value); err != nil {
		t.Fatal(err)
	}
}
