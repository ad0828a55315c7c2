package main

import "syscall"

// dieWithParent asks for SIGKILL when the process that started this one dies, should its closed socket not be enough.
func dieWithParent() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0)
}
