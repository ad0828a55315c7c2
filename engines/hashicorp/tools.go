//go:build tools

// Package tools names programs of other modules, so that go.mod pins their versions.
package tools

import _ "github.com/Jille/raftadmin/cmd/raftadmin"
