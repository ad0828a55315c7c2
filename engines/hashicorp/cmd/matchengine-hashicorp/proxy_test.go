package main

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// A call that comes in before the services listen is answered once they do.
func TestACallWaitsForTheServices(t *testing.T) {
	folder := t.TempDir()
	p, err := newProxy(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer p.services.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p.services.Connect()
	for state := p.services.GetState(); state != connectivity.TransientFailure; state = p.services.GetState() {
		p.services.WaitForStateChange(ctx, state)
	}
	ended := make(chan error, 1)
	go func() {
		stream, err := p.services.NewStream(ctx, &bothWays, "/Example/GetWords")
		if err == nil {
			var answer payload
			err = stream.RecvMsg(&answer)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	listener, err := net.Listen("unix", filepath.Join(folder, "services"))
	if err != nil {
		t.Fatal(err)
	}
	said := payload("words")
	services := grpc.NewServer(grpc.ForceServerCodec(codec{}), grpc.UnknownServiceHandler(
		func(_ any, stream grpc.ServerStream) error { return stream.SendMsg(&said) }))
	go services.Serve(listener)
	defer services.Stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
