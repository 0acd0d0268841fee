//go:build !linux

package envoy

import "os/exec"

// childOf does nothing: a Ctrl-C of the terminal ends Envoy together with its parent.
func childOf(*exec.Cmd) {}
