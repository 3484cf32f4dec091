package tracing_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/tracing"
)

func open(t testing.TB) *tracing.Tracer {
	t.Helper()
	tr, err := tracing.Open(t.Context(), tracing.Config{Endpoint: "http://127.0.0.1:1", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

var event = &hook.Event{Type: "some.event"}

// Whether a trace is recorded is for whoever began it to say, and for the standard
// variables if it begins here. In either case it has an id.
func TestSampling(t *testing.T) {
	caller := hook.ParseTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	unsampled := caller
	unsampled.Sampled = false
	for _, c := range []struct {
		name, sampler, ratio string
		continues            hook.Trace
		sampled              bool
	}{
		{"by default", "", "", hook.Trace{}, true},
		{"by default, in a recorded trace", "", "", caller, true},
		{"by default, in one that is not", "", "", unsampled, false},
		{"none of our own", "parentbased_traceidratio", "0", hook.Trace{}, false},
		{"none of our own, in a recorded trace", "parentbased_traceidratio", "0", caller, true},
		{"none at all", "always_off", "", caller, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", c.sampler)
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", c.ratio)
			at, end := open(t).Accept(event, c.continues, hook.Trace{}, time.Now())
			if at.Sampled != c.sampled || (end != nil) != c.sampled || at.Span == 0 || at.ID == [16]byte{} {
				t.Errorf("%v, %v", at, end != nil)
			}
			if !c.continues.IsZero() && (at.ID != c.continues.ID || at.Span == c.continues.Span) {
				t.Errorf("%v, which does not go on from %v", at, c.continues)
			}
		})
	}
}

// The standard variables say whether traces are kept.
func TestWanted(t *testing.T) {
	for _, c := range []struct {
		name, endpoint string
		environment    map[string]string
		want           bool
	}{
		{"nothing", "", nil, false},
		{"the flag", "http://127.0.0.1:4318", nil, true},
		{"a receiver of everything", "", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, true},
		{"a receiver of traces", "", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, true},
		{"switched off", "http://127.0.0.1:4318", map[string]string{"OTEL_SDK_DISABLED": "true"}, false},
		{"no traces", "http://127.0.0.1:4318", map[string]string{"OTEL_TRACES_EXPORTER": "none"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"} {
				t.Setenv(name, c.environment[name])
			}
			if got := (&tracing.Config{Endpoint: c.endpoint}).Wanted(); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// What cannot be an endpoint is refused at the start.
func TestOpenFaults(t *testing.T) {
	for _, endpoint := range []string{"localhost:4318", "ftp://localhost", "http://", "://"} {
		if _, err := tracing.Open(t.Context(), tracing.Config{Endpoint: endpoint}); err == nil {
			t.Errorf("%q is taken", endpoint)
		}
	}
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	if _, err := tracing.Open(t.Context(), tracing.Config{Endpoint: "http://127.0.0.1:4317"}); err == nil {
		t.Error("a protocol that is not spoken is taken")
	}
}
