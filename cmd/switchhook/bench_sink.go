package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
)

// newBenchSink is the other end of the bench, in a process of its own.
func newBenchSink() *cobra.Command {
	return &cobra.Command{
		Use:    "bench-sink",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), l.Addr())
			s := &http.Server{Handler: newSink(), ReadHeaderTimeout: 10 * time.Second}
			go func() {
				<-cmd.Context().Done()
				_ = s.Close()
			}()
			if err := s.Serve(l); err != http.ErrServerClosed {
				return err
			}
			return nil
		},
	}
}

// sink counts requests and notes when each event arrived first.
type sink struct {
	count   atomic.Int64
	bodies  sync.Pool
	arrived []atomic.Int64 // Unix nanoseconds by event number
}

// maxBenchEvents is how many events a bench may number.
const maxBenchEvents = 4_000_000

func newSink() http.Handler {
	s := &sink{arrived: make([]atomic.Int64, maxBenchEvents)}
	s.bodies.New = func() any { return new(bytes.Buffer) }
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ok/", s.take)
	mux.HandleFunc("POST /hang/", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s.count.Load()) })
	mux.HandleFunc("GET /arrivals", s.report)
	return mux
}

// numberMark comes before the ten digits that number an event of the bench.
var numberMark = []byte(`"phone_numbers":["+`)

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	b := s.bodies.Get().(*bytes.Buffer)
	b.Reset()
	_, err := b.ReadFrom(r.Body)
	if i := bytes.Index(b.Bytes(), numberMark); err == nil && i >= 0 {
		digits := b.Bytes()[i+len(numberMark)+1:][:10]
		if n, err := strconv.Atoi(string(digits)); err == nil && n < len(s.arrived) {
			s.arrived[n].CompareAndSwap(0, time.Now().UnixNano())
		}
	}
	s.bodies.Put(b)
	s.count.Add(1)
	w.WriteHeader(http.StatusNoContent)
}

// report writes the arrivals of a range of events and forgets them.
func (s *sink) report(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.Atoi(r.FormValue("from"))
	n, _ := strconv.Atoi(r.FormValue("n"))
	out := make([]byte, 0, 8*n)
	for i := from; i < min(from+n, len(s.arrived)); i++ {
		out = binary.BigEndian.AppendUint64(out, uint64(s.arrived[i].Swap(0)))
	}
	_, _ = w.Write(out)
}
