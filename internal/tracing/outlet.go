package tracing

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// outlet is the way that spans leave by. It stands before and behind the processor that
// gathers them, and so knows how many are in it, which the processor does not tell: it
// would drop what is too much without a word.
type outlet struct {
	sdk.SpanProcessor // which gathers
	exporter          sdk.SpanExporter
	room              int64
	within            atomic.Int64
	log               *slog.Logger
	said              atomic.Int64 // when trouble was logged last

	exported, failed, dropped prometheus.Counter
}

func newOutlet(e sdk.SpanExporter, room int, c Config) *outlet {
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "switchhook_trace_spans_total",
		Help: "Spans by what became of them: exported, failed (the receiver did not take them), dropped (too many were waiting).",
	}, []string{"result"})
	if c.Metrics != nil {
		c.Metrics.MustRegister(spans)
	}
	return &outlet{
		exporter: e, room: int64(room), log: c.Log,
		exported: spans.WithLabelValues("exported"), failed: spans.WithLabelValues("failed"), dropped: spans.WithLabelValues("dropped"),
	}
}

// OnEnd takes a span, if there is room. It does not wait.
func (o *outlet) OnEnd(s sdk.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return // nor would it be gathered
	}
	if o.within.Add(1) > o.room {
		o.within.Add(-1)
		o.dropped.Inc()
		o.trouble("more spans end than can be exported; the rest is dropped", nil)
		return
	}
	o.SpanProcessor.OnEnd(s)
}

// ExportSpans sends what was gathered. Whatever happens, the spans have left.
func (o *outlet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	n := int64(len(spans))
	defer o.within.Add(-n)
	if err := o.exporter.ExportSpans(ctx, spans); err != nil {
		o.failed.Add(float64(n))
		o.trouble("spans cannot be exported", err)
		return nil
	}
	o.exported.Add(float64(n))
	return nil
}

// sayAgain is how often trouble is logged.
const sayAgain = int64(time.Minute)

func (o *outlet) trouble(message string, err error) {
	now, said := time.Now().UnixNano(), o.said.Load()
	if now-said < sayAgain || !o.said.CompareAndSwap(said, now) {
		return
	}
	if err == nil {
		o.log.Warn(message)
	} else {
		o.log.Warn(message, "err", err)
	}
}

// exporting is the end of an outlet that a processor exports to.
type exporting struct{ *outlet }

// Shutdown ends the exporter.
func (o exporting) Shutdown(ctx context.Context) error { return o.exporter.Shutdown(ctx) }
