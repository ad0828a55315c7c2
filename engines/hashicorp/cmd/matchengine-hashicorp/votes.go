package main

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"
)

// Keys of Raft's own in the stable store, and the one that takes the place of both of a vote.
const (
	currentTerm   = "CurrentTerm"
	voteTerm      = "LastVoteTerm"
	voteCandidate = "LastVoteCand"
	vote          = "LastVote"
)

// stableStore makes a vote one record, u64 term | candidate, and stops the node at the first error.
//
// Raft writes the term of a vote and its candidate one after the other.  A crash between them would leave the candidate
// of an older vote under the newer term, and the server could vote again in it.  Only Raft's main loop writes here.
type stableStore struct {
	raft.StableStore
	stop func(error)
	term uint64
}

// SetUint64 implements raft.StableStore.  The term of a vote waits for its candidate.
func (s *stableStore) SetUint64(key []byte, value uint64) error {
	if string(key) == voteTerm {
		s.term = value
		return nil
	}
	return s.watched(key, s.StableStore.SetUint64(key, value))
}

// Set implements raft.StableStore.
func (s *stableStore) Set(key, value []byte) error {
	if string(key) == voteCandidate {
		key = []byte(vote)
		value = append(binary.LittleEndian.AppendUint64(nil, s.term), value...)
	}
	return s.watched(key, s.StableStore.Set(key, value))
}

// GetUint64 implements raft.StableStore.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	if string(key) != voteTerm {
		return s.StableStore.GetUint64(key)
	}
	term, _, err := s.vote()
	return term, err
}

// Get implements raft.StableStore.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	if string(key) != voteCandidate {
		return s.StableStore.Get(key)
	}
	_, candidate, err := s.vote()
	return candidate, err
}

// vote is the last one, or nothing before the first.
func (s *stableStore) vote() (uint64, []byte, error) {
	record, err := s.StableStore.Get([]byte(vote))
	if err != nil {
		return 0, nil, err
	}
	if len(record) == 0 {
		return s.voteInParts()
	}
	if len(record) < 8 {
		return 0, nil, fmt.Errorf("stable store: %s has %d bytes", vote, len(record))
	}
	return binary.LittleEndian.Uint64(record), record[8:], nil
}

// voteInParts is the one of a directory in which Raft itself has written: forgotten, it could be given again.
func (s *stableStore) voteInParts() (uint64, []byte, error) {
	term, err := s.StableStore.GetUint64([]byte(voteTerm))
	if err != nil {
		return 0, nil, err
	}
	candidate, err := s.StableStore.Get([]byte(voteCandidate))
	return term, candidate, err
}

func (s *stableStore) watched(key []byte, err error) error {
	if err != nil {
		s.stop(fmt.Errorf("stable store: %s cannot be written: %w", key, err))
	}
	return err
}
