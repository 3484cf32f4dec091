package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run the program as a command, and removes what tests have
// built.
func TestMain(m *testing.M) {
	testscript.Main(withBuildDir{m}, map[string]func(){"switchhook": main})
}

type withBuildDir struct{ *testing.M }

func (m withBuildDir) Run() (code int) {
	dir, err := os.MkdirTemp("", "switchhook-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	buildDir = dir
	defer os.RemoveAll(dir)
	return m.M.Run()
}
