package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/switchhook/switchhook/webhook"
)

// spans is an OTLP receiver.
type spans struct {
	t   testing.TB
	url string

	mu       sync.Mutex
	all      []*otlp.Span
	services map[string]bool
}

func collect(t testing.TB) *spans {
	c := &spans{t: t, services: map[string]bool{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %v: %v", r.URL, r.Header, err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, of := range request.ResourceSpans {
			for _, a := range of.Resource.Attributes {
				if a.Key == "service.name" {
					c.services[a.Value.GetStringValue()] = true
				}
			}
			for _, scope := range of.ScopeSpans {
				c.all = append(c.all, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

// named returns the spans whose name begins so, in the order in which they came.
func (c *spans) named(prefix string) (list []*otlp.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.all {
		if strings.HasPrefix(s.Name, prefix) {
			list = append(list, s)
		}
	}
	return list
}

// attribute returns a text that a span says.
func attribute(s *otlp.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// traceparent returns the header that a request has which is made under a span.
func traceparent(s *otlp.Span) string {
	return "00-" + hex.EncodeToString(s.TraceId) + "-" + hex.EncodeToString(s.SpanId) + "-01"
}

// traced is an endpoint that remembers the traces of what it gets.
type traced struct {
	url string

	mu      sync.Mutex
	answers []int    // to what comes next; then 204
	headers []string // traceparent of each request but challenges
}

func openTraced(t testing.TB) *traced {
	e := &traced{}
	r, err := webhook.New(webhook.Config{Secrets: []string{"secret-of-traced"}})
	must(t, err)
	take := r.Handler(func(context.Context, *webhook.Event) error { return nil })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		status := 0
		if len(e.answers) > 0 {
			status, e.answers = e.answers[0], e.answers[1:]
		}
		e.headers = append(e.headers, r.Header.Get("Traceparent"))
		e.mu.Unlock()
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		take.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

// next forgets what came, and says what is answered from now on.
func (e *traced) next(answers ...int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.headers, e.answers = nil, answers
}

func (e *traced) got() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.headers...)
}

// The trace of whoever publishes goes on through the acceptance of the event to each
// attempt, also after the platform was killed in between, and on to the endpoint.
func TestTraces(t *testing.T) {
	in, c, e := install(t), collect(t), openTraced(t)
	environment := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_BSP_SCHEDULE_DELAY=20"}
	args := []string{"--retry-steps", "2s,1h"}
	p := in.overseeIn(environment, args...)
	p.subscribe(&inbox{name: "traced", secret: "secret-of-traced", url: e.url})
	publish := func(media, body, parent string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/v2/events", strings.NewReader(body))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+p.key)
		req.Header.Set("Content-Type", media)
		if parent != "" {
			req.Header.Set("Traceparent", parent)
		}
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusAccepted {
			t.Fatalf("%d %s", res.StatusCode, text)
		}
	}

	const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	e.next(http.StatusServiceUnavailable)
	publish("application/json", numbered("one"), caller)
	waitFor(t, "the first attempt's span", func() bool { return len(c.named("deliver ")) == 1 })
	waitFor(t, "the first attempt's end", func() bool { return p.scrape().of("attempts_recording")+p.scrape().of("deliveries_in_hand") == 0 })
	p.kill()
	p = in.overseeIn(environment, args...)
	waitFor(t, "the second attempt's span", func() bool { return len(c.named("deliver ")) == 2 })

	published, attempts := c.named("publish "), c.named("deliver ")
	if len(published) != 1 {
		t.Fatalf("%d spans of publishing", len(published))
	}
	pub := published[0]
	if got := "00-" + hex.EncodeToString(pub.TraceId) + "-" + hex.EncodeToString(pub.ParentSpanId) + "-01"; got != caller {
		t.Errorf("the acceptance is under %s, want %s", got, caller)
	}
	if pub.Name != "publish number_management.peering_number_cnam_updated" || pub.Kind != otlp.Span_SPAN_KIND_PRODUCER ||
		attribute(pub, "switchhook.account.id") != "customer" || attribute(pub, "switchhook.event.id") == "" || pub.EndTimeUnixNano <= pub.StartTimeUnixNano {
		t.Errorf("%+v", pub)
	}
	for i, want := range []struct {
		outcome string
		status  otlp.Status_StatusCode
	}{{"503", otlp.Status_STATUS_CODE_ERROR}, {"204", otlp.Status_STATUS_CODE_UNSET}} {
		a := attempts[i]
		if string(a.TraceId) != string(pub.TraceId) || string(a.ParentSpanId) != string(pub.SpanId) {
			t.Errorf("attempt %d is under %x %x, want %x %x", i, a.TraceId, a.ParentSpanId, pub.TraceId, pub.SpanId)
		}
		if got := e.got(); len(got) != 2 || got[i] != traceparent(a) {
			t.Errorf("the endpoint got %v, want %s", got, traceparent(a))
		}
		if a.Kind != otlp.Span_SPAN_KIND_CLIENT || attribute(a, "switchhook.outcome") != want.outcome || a.Status.GetCode() != want.status ||
			attribute(a, "server.address") != "127.0.0.1" || a.StartTimeUnixNano < pub.StartTimeUnixNano || a.EndTimeUnixNano <= a.StartTimeUnixNano {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
	// A span can be found in the log, and the other way round.
	_, logged, err := p.call(t.Context(), http.DefaultClient, "GET", operator+"/webhook_logs?event=number_management.peering_number_cnam_updated", "application/json", nil)
	must(t, err)
	for _, a := range attempts {
		if id := attribute(a, "switchhook.request.id"); !strings.Contains(string(logged), `"delivery_id":"`+id+`"`) || !strings.Contains(string(logged), hex.EncodeToString(a.SpanId)+`"`) {
			t.Errorf("span %x of %s is not in the log: %s", a.SpanId, id, logged)
		}
	}
	if !c.services["switchhook"] || len(c.services) != 1 {
		t.Errorf("the spans are of %v", c.services)
	}

	// A trace that is not recorded goes on, not recorded.
	e.next()
	publish("application/json", numbered("two"), strings.TrimSuffix(caller, "1")+"0")
	waitFor(t, "an event whose trace is not recorded", func() bool { return len(e.got()) == 1 })
	if got := e.got()[0]; !strings.HasPrefix(got, caller[:36]) || !strings.HasSuffix(got, "-00") {
		t.Errorf("the endpoint got %s", got)
	}

	// What begins here has a trace of its own, and what is published in a stream has one
	// for each event, with a link to the stream's.
	e.next()
	publish("application/json", numbered("three"), "rubbish")
	waitFor(t, "an event without a trace", func() bool { return len(c.named("deliver ")) == 3 })
	first := c.named("publish ")[1]
	if len(first.ParentSpanId) != 0 || string(first.TraceId) == string(pub.TraceId) || string(c.named("deliver ")[2].ParentSpanId) != string(first.SpanId) {
		t.Errorf("%+v", first)
	}
	publish("application/x-ndjson", numbered("four")+"\n"+numbered("five")+"\n", caller)
	waitFor(t, "the events of a stream", func() bool { return len(c.named("publish ")) == 4 && len(c.named("deliver ")) == 5 })
	streamed := c.named("publish ")[2:]
	for _, s := range streamed {
		if len(s.ParentSpanId) != 0 || len(s.Links) != 1 || hex.EncodeToString(s.Links[0].TraceId) != caller[3:35] || hex.EncodeToString(s.Links[0].SpanId) != caller[36:52] {
			t.Errorf("%+v", s)
		}
	}
	if string(streamed[0].TraceId) == string(streamed[1].TraceId) {
		t.Error("the events of a stream have one trace")
	}
	if n := p.scrape(); n.of("trace_spans_total", "result=exported") == 0 || n.of("trace_spans_total", "result=dropped") != 0 || n.of("trace_spans_total", "result=failed") != 0 {
		t.Errorf("%v", n["switchhook_trace_spans_total"])
	}
	p.stop()
}

// A receiver of traces that hangs costs spans, which are counted, and nothing else.
func TestTracesThatNobodyTakes(t *testing.T) {
	in := install(t)
	end := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(end) })
	p := in.overseeIn([]string{"OTEL_BSP_MAX_QUEUE_SIZE=20", "OTEL_BSP_SCHEDULE_DELAY=10"}, "--otlp-endpoint", s.URL)
	b := openInbox(t, "good", "secret-of-good")
	p.subscribe(b)
	const events = 100
	for i := range events {
		p.ask("POST", "/v2/events", numbered(fmt.Sprint("n", i)), http.StatusAccepted, nil)
	}
	waitFor(t, "all deliveries", func() bool { return p.scrape().of("deliveries_ended_total", "state=delivered") == events })
	if n := p.scrape(); n.of("trace_spans_total", "result=dropped") != 2*events-20 || n.of("trace_spans_total", "result=exported") != 0 {
		t.Errorf("%v", n["switchhook_trace_spans_total"])
	}
	if n := strings.Count(p.stderr.String(), "the rest is dropped"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
	p.stop()
}

// Without a receiver of traces a request is as it always was: its trace is that of the
// delivery, whatever the producer sends.
func TestNoTraces(t *testing.T) {
	in, e := install(t), openTraced(t)
	p := in.overseeIn([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"})
	p.subscribe(&inbox{name: "traced", secret: "secret-of-traced", url: e.url})
	e.next()
	var accepted struct {
		Event string `json:"event_id"`
	}
	p.ask("POST", "/v2/events", numbered("one"), http.StatusAccepted, &accepted)
	waitFor(t, "the event", func() bool { return len(e.got()) == 1 })
	if got, want := e.got()[0], "00-"+strings.ReplaceAll(accepted.Event, "_", ""); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "-01") {
		t.Errorf("the endpoint got %s, want %s...", got, want)
	}
	if p.scrape()["switchhook_trace_spans_total"] != nil {
		t.Error("spans are counted")
	}
	if log := p.stderr.String(); !strings.Contains(log, "no traces are kept") || !strings.Contains(log, "http/protobuf") {
		t.Errorf("the log: %s", log)
	}
}
