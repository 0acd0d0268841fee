package envoy

import (
	"os/exec"
	"syscall"
)

// childOf keeps a Ctrl-C of the terminal from the process, which its parent is to end, and ends it with a parent that
// was killed.
func childOf(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
