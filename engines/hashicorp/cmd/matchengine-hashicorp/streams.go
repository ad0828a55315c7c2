package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/raft"
)

// Snapshot implements raft.FSM: it returns when the other half has frozen its state, before any later entry.
func (b *bridge) Snapshot() (raft.FSMSnapshot, error) {
	b.captures++
	id := b.captures
	b.send(frameCapture, u64(id))
	if !b.await(func() bool { return b.captured >= id }) {
		return nil, errBridgeClosed
	}
	return &capture{b, id}, nil
}

// capture is the other half's frozen state, which comes on a connection of its own.
type capture struct {
	bridge *bridge
	id     uint64
}

// Persist implements raft.FSMSnapshot.  Either the whole state is durable, or nothing of it is seen.
func (c *capture) Persist(sink raft.SnapshotSink) error {
	stream, err := c.bridge.dial(hello{Node: c.bridge.node, Purpose: "snapshot", ID: c.id})
	if err != nil {
		_ = sink.Cancel()
		return err
	}
	defer stream.close()
	if err := stream.receive(sink); err != nil {
		_ = sink.Cancel()
		stream.refuse(err)
		return err
	}
	if err := sink.Close(); err != nil {
		stream.refuse(err)
		return err
	}
	return writeFrame(stream.conn, frameDone, nil)
}

// Release implements raft.FSMSnapshot; the other half may still wait for somebody to fetch the state.
func (c *capture) Release() {
	c.bridge.send(frameRelease, u64(c.id))
}

// Restore implements raft.FSM.
func (b *bridge) Restore(source io.ReadCloser) error {
	defer source.Close()
	meta, err := metaOf(source)
	if err != nil {
		return err
	}
	if !b.beginRestore() {
		return errBridgeClosed
	}
	if err := b.replaceState(meta, source); err != nil {
		b.endRestore(0)
		return fmt.Errorf("restore: %w", err)
	}
	b.endRestore(meta.Index)
	return nil
}

// beginRestore lets no entry leave any more, and waits for those that have left: the state comes on a connection of its
// own and could overtake them.
func (b *bridge) beginRestore() bool {
	b.lock.Lock()
	b.restoring = true
	through := b.through
	b.lock.Unlock()
	return b.await(func() bool { return b.applied >= through })
}

// endRestore goes on behind the state that was taken over; 0: none was.
func (b *bridge) endRestore(index uint64) {
	b.lock.Lock()
	defer b.lock.Unlock()
	b.restoring = false
	if index > 0 {
		b.through = index
	}
}

func (b *bridge) replaceState(meta *raft.SnapshotMeta, source io.Reader) error {
	stream, err := b.dial(hello{Node: b.node, Purpose: "restore", Index: meta.Index, Term: meta.Term, Size: meta.Size})
	if err != nil {
		return err
	}
	defer stream.close()
	return stream.transmit(source)
}

// stream is a connection that carries one snapshot.
type stream struct {
	conn   net.Conn
	reader *bufio.Reader
}

func (b *bridge) dial(h hello) (*stream, error) {
	conn, err := net.Dial("unix", b.socket)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	reader := bufio.NewReaderSize(conn, chunkSize)
	if err := greet(conn, reader, h); err != nil {
		conn.Close()
		return nil, err
	}
	return &stream{conn, reader}, nil
}

func (s *stream) close() {
	s.conn.Close()
}

func (s *stream) refuse(err error) {
	_ = writeFrame(s.conn, frameFailure, []byte(err.Error()))
}

// receive copies chunks until the end frame, whose count has to fit.
func (s *stream) receive(sink io.Writer) error {
	var size uint64
	for {
		kind, body, err := readFrame(s.reader)
		switch {
		case err != nil:
			return fmt.Errorf("bridge: the snapshot broke off after %d bytes: %w", size, err)
		case kind == frameChunk:
			if _, err := sink.Write(body); err != nil {
				return err
			}
			size += uint64(len(body))
		case kind == frameEnd && len(body) == 8:
			if expected := binary.LittleEndian.Uint64(body); expected != size {
				return fmt.Errorf("bridge: the snapshot has %d bytes, not %d", size, expected)
			}
			return nil
		case kind == frameFailure:
			return errors.New(string(body))
		default:
			return fmt.Errorf("bridge: a frame of kind %d in a snapshot", kind)
		}
	}
}

// transmit sends a state and waits until it was taken over.
func (s *stream) transmit(source io.Reader) error {
	var size uint64
	chunk := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(source, chunk)
		if n > 0 {
			size += uint64(n)
			if err := writeFrame(s.conn, frameChunk, chunk[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := writeFrame(s.conn, frameEnd, u64(size)); err != nil {
		return err
	}
	_, err := expectFrame(s.reader, frameDone)
	return err
}
