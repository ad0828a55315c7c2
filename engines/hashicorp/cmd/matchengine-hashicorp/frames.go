package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// The frames of the bridge; docs/engines.md says who sends which, and what their bodies are.
//
//	u32 length of what follows | u8 kind | body          (all numbers little-endian)
const (
	bridgeVersion = 2
	maxFrame      = 64 << 20
	chunkSize     = 256 << 10

	frameHello   = 1
	frameReady   = 2
	frameEntries = 3
	frameState   = 4
	frameCapture = 5
	frameRelease = 6
	frameOutcome = 7
	frameFailure = 8
	framePing    = 9

	frameWelcome  = 16
	frameApplied  = 17
	frameCaptured = 18
	framePropose  = 19
	frameRequest  = 20
	framePong     = 21

	frameChunk = 32
	frameEnd   = 33
	frameDone  = 34
)

// hello opens every connection; purpose is control, snapshot or restore.
type hello struct {
	Version int    `json:"version"`
	Node    string `json:"node"`
	Purpose string `json:"purpose"`
	ID      uint64 `json:"id,omitempty"`
	Index   uint64 `json:"index,omitempty"`
	Term    uint64 `json:"term,omitempty"`
	Size    int64  `json:"size,omitempty"`
}

func writeFrame(w io.Writer, kind byte, body []byte) error {
	var head [5]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(body)+1))
	head[4] = kind
	if _, err := w.Write(head[:]); err != nil || len(body) == 0 {
		return err // whoever has the whole frame may close before an empty write
	}
	_, err := w.Write(body)
	return err
}

func readFrame(r *bufio.Reader) (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length < 1 || length > maxFrame {
		return 0, nil, fmt.Errorf("bridge: a frame of %d bytes is not within 1 to %d", length, maxFrame)
	}
	body := make([]byte, length-1)
	_, err := io.ReadFull(r, body)
	return head[4], body, err
}

// expectFrame reads one frame that has to be of this kind; a failure frame is the other half's error.
func expectFrame(r *bufio.Reader, kind byte) ([]byte, error) {
	found, body, err := readFrame(r)
	if err != nil {
		return nil, fmt.Errorf("bridge: the other half is gone: %w", err)
	}
	if found == frameFailure {
		return nil, fmt.Errorf("the other half says: %s", body)
	}
	if found != kind {
		return nil, fmt.Errorf("bridge: a frame of kind %d came instead of %d", found, kind)
	}
	return body, nil
}

// greet sends the hello and checks the welcome.
func greet(w io.Writer, r *bufio.Reader, h hello) error {
	h.Version = bridgeVersion
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := writeFrame(w, frameHello, body); err != nil {
		return err
	}
	answer, err := expectFrame(r, frameWelcome)
	if err != nil {
		return err
	}
	var welcome hello
	if err := json.Unmarshal(answer, &welcome); err != nil {
		return fmt.Errorf("bridge: welcome: %w", err)
	}
	if welcome.Version != bridgeVersion || welcome.Node != h.Node {
		return fmt.Errorf("bridge: version %d of node %q answers version %d of node %q; both halves must be of one release",
			welcome.Version, welcome.Node, bridgeVersion, h.Node)
	}
	return nil
}

func u64(value uint64) []byte {
	return binary.LittleEndian.AppendUint64(nil, value)
}
