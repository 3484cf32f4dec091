//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignoreFileSize makes writing beyond a file size limit an error that is answered,
// and not the end.
func ignoreFileSize() { signal.Ignore(syscall.SIGXFSZ) }
