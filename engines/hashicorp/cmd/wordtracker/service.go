package main

import (
	"context"
	"time"

	"github.com/Jille/raft-grpc-leader-rpc/rafterrors"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"matchengine/engines/hashicorp/examplepb"
)

const enqueueTimeout = time.Second

// example is the word tracker's service.
type example struct {
	examplepb.UnimplementedExampleServer
	raft  *raft.Raft
	words *wordTracker
}

func registerExample(server *grpc.Server, r *raft.Raft, words *wordTracker) {
	examplepb.RegisterExampleServer(server, &example{raft: r, words: words})
}

// AddWord answers once the word is applied here.
func (e *example) AddWord(_ context.Context, request *examplepb.AddWordRequest) (*examplepb.AddWordResponse, error) {
	future := e.raft.Apply([]byte(request.GetWord()), enqueueTimeout)
	if err := future.Error(); err != nil {
		return nil, rafterrors.MarkRetriable(err)
	}
	return &examplepb.AddWordResponse{CommitIndex: future.Index()}, nil
}

// GetWords answers what this node has applied, which may be behind, as HashiCorp Raft's gRPC example does.
func (e *example) GetWords(context.Context, *examplepb.GetWordsRequest) (*examplepb.GetWordsResponse, error) {
	index := e.raft.AppliedIndex()
	return &examplepb.GetWordsResponse{ReadAtIndex: index, BestWords: e.words.words()}, nil
}
