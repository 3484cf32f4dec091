package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// How long a client may take. The sender waits for three seconds in all, so what takes
// longer is nobody whom that could harm.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 8 * time.Second // headers and body
	writeTimeout  = 15 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeaders    = 32 << 10
)

// Serve answers requests on the listener until ctx is done, with TLS if there is a
// configuration for it. Then it answers what is under way, and whatever still comes
// with 503.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, t *tls.Config) error {
	own := &conns{Listener: l, most: g.config.MaxConnections, each: g.config.MaxPerAddress, exempt: g.isProxy, metrics: g.metrics}
	server := &http.Server{
		Handler:           g,
		TLSConfig:         t,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaders,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() {
		if t != nil {
			served <- server.ServeTLS(own, "", "")
			return
		}
		served <- server.Serve(own)
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	g.Stop()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.config.StopTimeout)
	defer cancel()
	err := server.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}
