//go:build race

package api

// racing: the tests run with the race detector, which makes reading of millions of lines
// take minutes.
const racing = true
