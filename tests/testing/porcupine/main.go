// Judges histories of a register with Porcupine: one JSON array of operations a line in, "yes" or "no" a line out.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"

	"github.com/anishathalye/porcupine"
)

// operation is one call; end and result are null where the outcome is unknown.
type operation struct {
	Client int    `json:"client"`
	Start  int64  `json:"start"`
	Call   []any  `json:"call"`
	End    *int64 `json:"end"`
	Result any    `json:"result"`
}

// unknown stands for the result that nobody was told.
type unknown struct{}

// register is the model of registers.py: read, write and swap of numbers, starting at 0.
var register = porcupine.Model{
	Init: func() any { return 0.0 },
	Step: func(state, input, output any) (bool, any) {
		call := input.([]any)
		_, free := output.(unknown)
		switch call[0] {
		case "read":
			return free || output == state, state
		case "write":
			return true, call[1]
		}
		if state == call[1] {
			return free || output == true, call[2]
		}
		return free || output == false, state
	},
}

func history(operations []operation) []porcupine.Operation {
	made := make([]porcupine.Operation, 0, len(operations))
	for _, each := range operations {
		next := porcupine.Operation{
			ClientId: each.Client, Input: each.Call, Call: each.Start, Output: unknown{}, Return: math.MaxInt64,
		}
		if each.End != nil {
			next.Output, next.Return = each.Result, *each.End
		}
		made = append(made, next)
	}
	return made
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var operations []operation
		if err := json.Unmarshal(lines.Bytes(), &operations); err != nil {
			log.Fatal(err)
		}
		verdict := "no"
		if porcupine.CheckOperations(register, history(operations)) {
			verdict = "yes"
		}
		fmt.Println(verdict)
	}
}
