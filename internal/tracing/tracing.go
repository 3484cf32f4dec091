// Package tracing tells OpenTelemetry of the way that events go.
//
// A [Tracer] makes a span of the acceptance of each event, and one of each attempt to
// deliver it, which is a child of the first even when it is made an hour and two
// restarts later: the event keeps its trace. Spans leave through OTLP over HTTP. When
// that does not take them they are dropped and counted; nothing else is ever held up.
package tracing

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/intake"
)

// Config says how to trace.
type Config struct {
	// Endpoint is the URL of an OTLP receiver, as OTEL_EXPORTER_OTLP_ENDPOINT has it.
	// Empty: what the environment says.
	Endpoint string
	Version  string
	Metrics  prometheus.Registerer
	Log      *slog.Logger
}

// Tracer traces events. Make one with [Open]. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// Wanted reports whether traces are to be kept, by the standard variables of
// OpenTelemetry and an endpoint that was given.
func (c *Config) Wanted() bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return cmp.Or(c.Endpoint, os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) != ""
}

// Open returns a tracer. What the configuration does not say, the standard variables
// do: headers, certificates, sampling (by default everything that its parent does not
// except), the name of the service.
func Open(ctx context.Context, c Config) (*Tracer, error) {
	if p := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")); strings.HasPrefix(p, "grpc") || p == "http/json" {
		return nil, fmt.Errorf("traces leave as http/protobuf, not as %s; the receiver has another port for that, most often 4318: set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", p)
	}
	var options []otlptracehttp.Option
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("the endpoint for traces %q is not a URL, as in http://127.0.0.1:4318", c.Endpoint)
		}
		options = append(options, otlptracehttp.WithEndpointURL(u.JoinPath("v1/traces").String()))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	own := []attribute.KeyValue{attribute.String("service.name", "switchhook"), attribute.String("service.version", c.Version)}
	about, err := resource.New(ctx, resource.WithAttributes(own...), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	room := queueLength()
	way := newOutlet(exporter, room, c)
	way.SpanProcessor = sdk.NewBatchSpanProcessor(exporting{way}, sdk.WithMaxQueueSize(room), sdk.WithMaxExportBatchSize(min(room, 512)))
	provider := sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithIDGenerator(generator{}), sdk.WithSpanProcessor(way))
	return &Tracer{provider, provider.Tracer("github.com/switchhook/switchhook", trace.WithInstrumentationVersion(c.Version))}, nil
}

// defaultQueue is how many spans wait to be exported. The standard's 2048 are a fortieth
// of a second.
const defaultQueue = 16 << 10

func queueLength() int {
	if n, err := strconv.Atoi(os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE")); err == nil && n > 0 {
		return n
	}
	return defaultQueue
}

// Close exports what there still is, for as long as ctx lasts.
func (t *Tracer) Close(ctx context.Context) { _ = t.provider.Shutdown(ctx) } // what is lost is counted

// Accept makes the span of an event's acceptance; see [intake.Tracer].
func (t *Tracer) Accept(e *hook.Event, continues, links hook.Trace, now time.Time) (hook.Trace, func(*intake.Receipt)) {
	options := []trace.SpanStartOption{trace.WithTimestamp(now), trace.WithSpanKind(trace.SpanKindProducer)}
	if !links.IsZero() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: contextOf(links)}))
	}
	_, span := t.tracer.Start(under(continues), "publish "+e.Type, options...)
	sc := span.SpanContext()
	id := sc.SpanID()
	at := hook.Trace{ID: sc.TraceID(), Span: binary.BigEndian.Uint64(id[:]), Sampled: sc.IsSampled()}
	if !span.IsRecording() {
		return at, nil
	}
	return at, func(r *intake.Receipt) {
		span.SetAttributes(attribute.String("switchhook.event.type", e.Type), attribute.String("switchhook.account.id", e.Account))
		switch {
		case r.Err != nil:
			span.SetStatus(codes.Error, "it was not stored")
		case r.Duplicate:
			span.SetAttributes(attribute.String("switchhook.event.id", r.Event.String()), attribute.Bool("switchhook.event.duplicate", true))
		default:
			span.SetAttributes(attribute.String("switchhook.event.id", r.Event.String()), attribute.Int("switchhook.event.deliveries", r.Deliveries))
		}
		span.End()
	}
}

// Attempted makes the span of an attempt; see [deliver.Config.Attempted].
func (t *Tracer) Attempted(a *hook.Attempt, e *hook.Event) {
	if !e.Trace.Sampled || a.Kind != hook.KindAttempt {
		return
	}
	parent := under(e.Trace)
	name, kind := "deliver "+e.Type, trace.SpanKindClient
	if a.Span != 0 {
		parent = context.WithValue(parent, givenSpan{}, a.Span)
	} else {
		kind = trace.SpanKindInternal // nothing was sent
	}
	_, span := t.tracer.Start(parent, name, trace.WithTimestamp(a.Started), trace.WithSpanKind(kind))
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(
		attribute.String("switchhook.request.id", a.Delivery.String()), attribute.String("switchhook.event.id", e.ID.String()),
		attribute.String("switchhook.event.type", e.Type), attribute.String("switchhook.account.id", e.Account),
		attribute.String("switchhook.outcome", a.Outcome.String()), attribute.String("switchhook.delivery.state", a.State.String()),
		attribute.Int("http.request.resend_count", a.Retry),
	)
	if kind == trace.SpanKindClient {
		span.SetAttributes(attribute.String("http.request.method", "POST"))
		span.SetAttributes(server(a.Target.URL)...)
	}
	switch {
	case a.Outcome > 0:
		span.SetAttributes(attribute.Int("http.response.status_code", int(a.Outcome)))
		fallthrough
	default:
		if !a.Outcome.OK() {
			span.SetAttributes(attribute.String("error.type", a.Outcome.String()))
			span.SetStatus(codes.Error, a.Detail)
		}
	}
	for _, phase := range []struct {
		name string
		at   time.Duration
	}{{"resolved", a.Timing.DNS}, {"connected", a.Timing.Connected}, {"tls", a.Timing.TLS}, {"first byte", a.Timing.FirstByte}} {
		if phase.at > 0 {
			span.AddEvent(phase.name, trace.WithTimestamp(a.Started.Add(phase.at)))
		}
	}
	span.End(trace.WithTimestamp(a.Started.Add(a.Timing.Done)))
}

// server says where a request went. The rest of a URL often has a token in it.
func server(address string) (list []attribute.KeyValue) {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	list = append(list, attribute.String("server.address", u.Hostname()))
	if n, err := strconv.Atoi(cmp.Or(u.Port(), map[string]string{"https": "443", "http": "80"}[u.Scheme])); err == nil {
		list = append(list, attribute.Int("server.port", n))
	}
	return list
}

// contextOf returns a place in a trace as OpenTelemetry has it.
func contextOf(t hook.Trace) trace.SpanContext {
	c := trace.SpanContextConfig{TraceID: t.ID, Remote: true}
	binary.BigEndian.PutUint64(c.SpanID[:], t.Span)
	if t.Sampled {
		c.TraceFlags = trace.FlagsSampled
	}
	return trace.NewSpanContext(c)
}

// under returns a context in which spans are children of a place in a trace, or the
// first of a trace of their own.
func under(t hook.Trace) context.Context {
	if t.IsZero() {
		return context.Background()
	}
	return trace.ContextWithRemoteSpanContext(context.Background(), contextOf(t))
}

// generator makes ids. That of an attempt's span is given: it is in the request that
// was sent, and in the log.
type generator struct{}

type givenSpan struct{}

// NewIDs returns the ids of the first span of a trace.
func (g generator) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	for !id.IsValid() {
		binary.BigEndian.PutUint64(id[:8], rand.Uint64())
		binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID returns the id of a span.
func (generator) NewSpanID(ctx context.Context, _ trace.TraceID) (id trace.SpanID) {
	n, _ := ctx.Value(givenSpan{}).(uint64)
	for n == 0 {
		n = rand.Uint64()
	}
	binary.BigEndian.PutUint64(id[:], n)
	return id
}
