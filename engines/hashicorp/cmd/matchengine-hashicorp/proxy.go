package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	maxRequest = 64 << 20
	maxAnswer  = 1 << 30
	window     = 4 << 20
)

// payload is a message that passes as it is.
type payload []byte

// codec leaves payloads alone and treats everything else as protobuf.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(value any) ([]byte, error) {
	switch message := value.(type) {
	case *payload:
		return *message, nil
	case proto.Message:
		return proto.Marshal(message)
	default:
		return nil, fmt.Errorf("%T is no message", value)
	}
}

func (codec) Unmarshal(data []byte, value any) error {
	switch message := value.(type) {
	case *payload:
		*message = data
		return nil
	case proto.Message:
		return proto.Unmarshal(data, message)
	default:
		return fmt.Errorf("%T is no message", value)
	}
}

// proxy passes every call that is not Raft's own to the services of the other half, so that a node has one address.
type proxy struct {
	services *grpc.ClientConn
}

func newProxy(folder string) (*proxy, error) {
	socket, err := shortPath(folder, "services")
	if err != nil {
		return nil, err
	}
	patience := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}
	services, err := grpc.NewClient("passthrough:///services",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", socket)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: patience, MinConnectTimeout: time.Second}),
		grpc.WithInitialWindowSize(window),
		grpc.WithInitialConnWindowSize(window),
		// The address answers before the services do: a call that comes in between waits as long as its caller does.
		grpc.WithDefaultCallOptions(
			grpc.WaitForReady(true), grpc.ForceCodec(codec{}),
			grpc.MaxCallRecvMsgSize(maxAnswer), grpc.MaxCallSendMsgSize(maxRequest)),
	)
	if err != nil {
		return nil, err
	}
	return &proxy{services}, nil
}

func (p *proxy) serverOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodec(codec{}),
		grpc.UnknownServiceHandler(p.pass),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxSendMsgSize(maxAnswer),
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(window),
	}
}

var bothWays = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

func (p *proxy) pass(_ any, client grpc.ServerStream) error {
	method, ok := grpc.MethodFromServerStream(client)
	if !ok {
		return status.Error(codes.Internal, "a call without a method")
	}
	ctx, cancel := context.WithCancel(client.Context())
	defer cancel()
	if sent, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, sent.Copy())
	}
	server, err := p.services.NewStream(ctx, &bothWays, method)
	if err != nil {
		return err
	}
	go passRequests(client, server, cancel)
	return passAnswers(client, server)
}

func passRequests(client grpc.ServerStream, server grpc.ClientStream, cancel context.CancelFunc) {
	for {
		var message payload
		if err := client.RecvMsg(&message); err != nil {
			if errors.Is(err, io.EOF) {
				_ = server.CloseSend()
			} else {
				cancel()
			}
			return
		}
		if err := server.SendMsg(&message); err != nil {
			return // the answers end with the reason
		}
	}
}

func passAnswers(client grpc.ServerStream, server grpc.ClientStream) error {
	head, err := server.Header()
	if err == nil {
		err = client.SendHeader(head)
	}
	for err == nil {
		var message payload
		if err = server.RecvMsg(&message); err == nil {
			err = client.SendMsg(&message)
		}
	}
	client.SetTrailer(server.Trailer())
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
