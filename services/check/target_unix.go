//go:build unix

package check

import (
	"os/exec"
	"syscall"
)

// ownGroup puts the command into a process group of its own, so that what it starts can be ended with it: npm and mvn
// run the service as a child.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminate(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
