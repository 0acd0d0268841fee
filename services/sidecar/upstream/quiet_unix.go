//go:build unix

package upstream

import "syscall"

// quiet tells whether an idle connection is still open and has nothing to read.
func quiet(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR
}

// refusedData tells whether the other side answered what was sent to it with a reset, though the end of its own
// direction had come before and was read as such.
func refusedData(fd uintptr) bool {
	code, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
	return err == nil && (syscall.Errno(code) == syscall.EPIPE || syscall.Errno(code) == syscall.ECONNRESET)
}
