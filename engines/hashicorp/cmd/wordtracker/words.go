package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/hashicorp/raft"
)

const slots = 3

// wordTracker keeps the three longest words: more bytes first, equal lengths in byte order, doubles kept.
type wordTracker struct {
	mutex sync.RWMutex
	best  [slots][]byte
	audit *os.File
}

// newWordTracker makes an empty tracker; a non-empty audit path gets a line for every applied command.
func newWordTracker(audit string) (*wordTracker, error) {
	tracker := &wordTracker{}
	if audit == "" {
		return tracker, nil
	}
	file, err := os.OpenFile(audit, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("--audit: %w", err)
	}
	tracker.audit = file
	return tracker, nil
}

func isBefore(word, other []byte) bool {
	if len(word) != len(other) {
		return len(word) > len(other)
	}
	return bytes.Compare(word, other) < 0
}

// Apply implements raft.FSM.
func (t *wordTracker) Apply(entry *raft.Log) any {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.note(entry)
	word := entry.Data
	for i := range t.best {
		if isBefore(word, t.best[i]) {
			word, t.best[i] = t.best[i], word
		}
	}
	return nil
}

// note writes one line in one call, so that a kill leaves whole lines only.
func (t *wordTracker) note(entry *raft.Log) {
	if t.audit == nil {
		return
	}
	if _, err := fmt.Fprintf(t.audit, "%d %d %x\n", entry.Index, entry.Term, entry.Data); err != nil {
		panic(fmt.Sprintf("audit: %v", err))
	}
}

func (t *wordTracker) words() []string {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	words := make([]string, slots)
	for i, word := range t.best {
		words[i] = string(word)
	}
	return words
}

// Snapshot implements raft.FSM.
func (t *wordTracker) Snapshot() (raft.FSMSnapshot, error) {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	return wordSnapshot(bytes.Join(t.best[:], []byte("\n"))), nil
}

// Restore implements raft.FSM; nothing of what was there before stays.
func (t *wordTracker) Restore(source io.ReadCloser) error {
	defer source.Close()
	data, err := io.ReadAll(source)
	if err != nil {
		return err
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.best = [slots][]byte{}
	copy(t.best[:], bytes.Split(data, []byte("\n")))
	return nil
}

// wordSnapshot is the three words, joined by newline.
type wordSnapshot []byte

// Persist implements raft.FSMSnapshot.
func (s wordSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		_ = sink.Cancel()
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (wordSnapshot) Release() {}
