package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
)

// serveBridged runs Raft here and leaves the state machine and all services to the process that started this one.
func serveBridged(s settings) error {
	dieWithParent()
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM) // they mean the whole node, and the other half passes them on
	b, err := dialBridge(s.bridge, s.raftID)
	if err != nil {
		return err
	}
	go b.listen()
	go b.keepPulse(s.patience)
	b.fail(runBridged(s, b))
	return nil
}

// runBridged returns only what keeps the node from running; Raft panics when it cannot read its log.
func runBridged(s settings, b *bridge) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("raft: cannot start: %v", reason)
		}
	}()
	socket, err := net.Listen("tcp", s.listenAddress())
	if err != nil {
		return fmt.Errorf("cannot bind %s: %w; --listen takes an address of this machine where --address is none",
			s.listenAddress(), err)
	}
	if err := os.MkdirAll(s.dataDir, 0o700); err != nil {
		return err
	}
	services, err := newProxy(s.bridge)
	if err != nil {
		return err
	}
	stores, err := openWal(s.dataDir, b.fail)
	if err != nil {
		return err
	}
	if s.bootstrap {
		if err := undoHalfBootstrap(stores); err != nil {
			return err
		}
	}
	b.logs, b.snapshots = stores.logs, stores.snapshots
	node, err := openNode(s, b, stores)
	if err != nil {
		return err
	}
	server := grpc.NewServer(services.serverOptions()...)
	node.transport.Register(server)
	b.serve(node.raft)
	return server.Serve(socket)
}
