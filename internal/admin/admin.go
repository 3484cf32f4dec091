// Package admin makes the pages that those who run a process look at.
//
// They are the same for the platform and for the gateway: /healthz tells how it is
// doing, /readyz whether requests are to be sent to it, /metrics its numbers. They ask
// for no key, so they belong on an address that the public does not reach.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says what the pages show.
type Config struct {
	// Health returns what /healthz says, to be written as JSON. An error is logged, and
	// answered with 500.
	Health func(context.Context) (any, error)
	// Ready returns nil if requests are to be sent here, else why not.
	Ready func(context.Context) error
	// Numbers are what /metrics shows.
	Numbers prometheus.Gatherer
	Log     *slog.Logger
}

// NewRegistry returns a registry that shows which program this is, and how it uses the
// machine.
func NewRegistry(version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "switchhook_build_info", Help: "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Pages returns the pages.
func Pages(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		h, err := c.Health(r.Context())
		if err != nil {
			c.Log.Error("health cannot be told", "err", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		_ = out.Encode(h) // who does not read it asks again
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if err := c.Ready(r.Context()); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	// What one collector cannot tell must not hide what the others can.
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Numbers, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4,
	}))
	return mux
}

// Serve shows pages on the listener until ctx is done.
func Serve(ctx context.Context, l net.Listener, pages http.Handler, log *slog.Logger) {
	server := &http.Server{
		Handler: pages, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.Error("the admin address is not served any more", "err", err)
	}
}
