package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

const endless = "MATCHENGINE_TEST_FAILS_IN"

// TestAHalfThatFailsEnds runs itself again for each hindrance, since the process has to end.
func TestAHalfThatFailsEnds(t *testing.T) {
	if hindrance := os.Getenv(endless); hindrance != "" {
		nobody, conn := net.Pipe() // without a buffer, and nobody reads
		defer nobody.Close()
		b := &bridge{conn: conn, writer: bufio.NewWriterSize(conn, 16)}
		switch hindrance {
		case "a lock that is kept":
			b.lock.Lock()
		case "a write that does not end":
			go b.send(frameReady, make([]byte, 64))
		}
		b.fail(errors.New("it broke"))
	}
	for _, hindrance := range []string{"a lock that is kept", "a write that does not end", "a reader that is gone"} {
		bound, cancel := context.WithTimeout(context.Background(), time.Minute)
		again := exec.CommandContext(bound, os.Args[0], "-test.run", t.Name())
		again.Env = append(os.Environ(), endless+"="+hindrance)
		said, _ := again.CombinedOutput()
		cancel()
		if code := again.ProcessState.ExitCode(); code != exitBroken {
			t.Errorf("%s: exit code %d: %s", hindrance, code, said)
		}
	}
}
