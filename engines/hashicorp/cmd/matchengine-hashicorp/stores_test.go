package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// brokenLog fails at everything that it is asked for.
type brokenLog struct{ err error }

func (b brokenLog) FirstIndex() (uint64, error)       { return 1, nil }
func (b brokenLog) LastIndex() (uint64, error)        { return 9, nil }
func (b brokenLog) GetLog(uint64, *raft.Log) error    { return b.err }
func (b brokenLog) StoreLog(*raft.Log) error          { return b.err }
func (b brokenLog) StoreLogs([]*raft.Log) error       { return b.err }
func (b brokenLog) DeleteRange(first, _ uint64) error { return b.err }

func TestALogThatFailsStopsTheNode(t *testing.T) {
	full := errors.New("no space left on device")
	acts := map[string]func(raft.LogStore) error{
		"read":    func(l raft.LogStore) error { return l.GetLog(5, &raft.Log{}) },
		"written": func(l raft.LogStore) error { return l.StoreLog(&raft.Log{Index: 10}) },
		"deleted": func(l raft.LogStore) error { return l.DeleteRange(1, 4) },
	}
	for what, act := range acts {
		told := make(chan error, 1)
		if err := act(watchedLog{brokenLog{full}, func(err error) { told <- err }}); !errors.Is(err, full) {
			t.Errorf("%s: %v", what, err)
		}
		if err := <-told; !errors.Is(err, full) || !strings.Contains(err.Error(), "cannot be "+what) {
			t.Errorf("%s: stopped by %v", what, err)
		}
	}
}

func TestWhatIsNotThereStopsNobody(t *testing.T) {
	log := watchedLog{brokenLog{raft.ErrLogNotFound}, func(err error) { t.Errorf("stopped by %v", err) }}
	for _, index := range []uint64{0, 5} {
		if err := log.GetLog(index, &raft.Log{}); !errors.Is(err, raft.ErrLogNotFound) {
			t.Error(err)
		}
	}
}

// crashing forgets what is written after the last of its writes.
type crashing struct {
	raft.StableStore
	writes int
}

func (c *crashing) Set(key, value []byte) error {
	if c.writes == 0 {
		return nil
	}
	c.writes--
	return c.StableStore.Set(key, value)
}

func (c *crashing) SetUint64(key []byte, value uint64) error {
	if c.writes == 0 {
		return nil
	}
	c.writes--
	return c.StableStore.SetUint64(key, value)
}

func TestAVoteIsOneRecord(t *testing.T) {
	for writes := range 4 {
		disk, err := wal.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		store := &stableStore{StableStore: &crashing{disk, writes}, stop: func(err error) { t.Error(err) }}
		votes := map[uint64]string{0: ""}
		for term, candidate := range map[uint64]string{3: "a", 7: "b"} {
			votes[term] = candidate
		}
		for _, term := range []uint64{3, 7} {
			_ = store.SetUint64([]byte("CurrentTerm"), term)
			_ = store.SetUint64([]byte(voteTerm), term)
			_ = store.Set([]byte(voteCandidate), []byte(votes[term]))
		}
		again := &stableStore{StableStore: disk}
		term, err := again.GetUint64([]byte(voteTerm))
		candidate, err2 := again.Get([]byte(voteCandidate))
		if err != nil || err2 != nil || votes[term] != string(candidate) {
			t.Errorf("after %d writes: a vote for %q in term %d (%v, %v)", writes, candidate, term, err, err2)
		}
		current, _ := again.GetUint64([]byte("CurrentTerm"))
		if current < term {
			t.Errorf("after %d writes: a vote in term %d, but the term is %d", writes, term, current)
		}
		_ = disk.Close()
	}
}

func TestAVoteInPartsCountsUntilTheFirstRecord(t *testing.T) {
	disk, err := wal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	store := &stableStore{StableStore: disk, stop: func(err error) { t.Error(err) }}
	look := func(term uint64, candidate string) {
		foundTerm, err := store.GetUint64([]byte(voteTerm))
		found, err2 := store.Get([]byte(voteCandidate))
		if err != nil || err2 != nil || foundTerm != term || string(found) != candidate {
			t.Errorf("a vote for %q in term %d instead of %q in %d (%v, %v)", found, foundTerm, candidate, term, err, err2)
		}
	}
	look(0, "")
	_ = disk.SetUint64([]byte(voteTerm), 5)
	_ = disk.Set([]byte(voteCandidate), []byte("a"))
	look(5, "a")
	_ = store.SetUint64([]byte(voteTerm), 6)
	_ = store.Set([]byte(voteCandidate), []byte("b"))
	look(6, "b")
}

func TestAVoteThatCannotBeWrittenStopsTheNode(t *testing.T) {
	disk, err := wal.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_ = disk.Close()
	var told error
	store := &stableStore{StableStore: disk, stop: func(err error) { told = err }}
	if err := store.Set([]byte(voteCandidate), []byte("a")); err == nil || told == nil {
		t.Errorf("%v, stopped by %v", err, told)
	}
}

func TestALogWithoutItsSuffixCanBeOpenedAgain(t *testing.T) {
	folder := t.TempDir()
	fail := func(err error) { t.Error(err) }
	entries := func(from, to, term uint64) (logs []*raft.Log) {
		for index := from; index <= to; index++ {
			logs = append(logs, &raft.Log{Index: index, Term: term, Data: []byte{byte(index), byte(term)}})
		}
		return logs
	}
	for round := range uint64(3) {
		kept, err := openWal(folder, fail)
		if err != nil {
			t.Fatal(err)
		}
		first := uint64(1)
		if round > 0 {
			_ = kept.logs.DeleteRange(6, 10) // another leader's entries take their place
			first = 6
		}
		_ = kept.logs.StoreLogs(entries(first, 10, round+1))
		_ = kept.closers[0].Close()
		again, err := openWal(folder, fail)
		if err != nil {
			t.Fatal(err)
		}
		for index := uint64(1); index <= 10; index++ {
			var found raft.Log
			if err := again.logs.GetLog(index, &found); err != nil || (index > 5 && found.Term != round+1) {
				t.Errorf("round %d, entry %d: %v, %v", round, index, found, err)
			}
		}
		_ = again.closers[0].Close()
	}
}
