package main

import (
	"fmt"
	"os"
	"testing"
)

// TestMain removes what tests have built.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "switchhook-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
