package webhook_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/webhook"
)

// The next handler gets verified requests only, with their event and a body that is
// still to be read, and answers them itself.
func TestMiddleware(t *testing.T) {
	var heard reports
	s := httptest.NewServer(receiver(t, func(c *webhook.Config) { c.Error = heard.hear }).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e, ok := webhook.FromContext(r.Context())
		body, err := io.ReadAll(r.Body)
		if !ok || err != nil || string(body) != testBody || string(e.Body) != testBody || e.RequestID == "" {
			t.Errorf("%v %v %q", ok, err, body)
		}
		if until, ok := r.Context().Deadline(); !ok || time.Until(until) >= webhook.SendTimeout {
			t.Errorf("its time ends at %v, %v", until, ok)
		}
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusAccepted)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "thank you")
	})))
	defer s.Close()
	if res, body := exchange(t, s, post(s.URL, testBody)); res.StatusCode != 202 || body != "thank you" || res.Header.Get("X-Answer") != "yes" {
		t.Errorf("%s %q %v", res.Status, body, res.Header)
	}
	if res, body := exchange(t, s, post(s.URL, challengeFor("qgg8vlvZRS6UYooatFL8Aw"))); res.StatusCode != 200 || !strings.Contains(body, "24fb98936d97c3ff") {
		t.Errorf("challenge: %s %s", res.Status, body)
	}
	if all := heard.all(); len(all) > 0 {
		t.Errorf("reported: %v", all)
	}
	unsigned := post(s.URL, testBody)
	unsigned.Header.Del(webhook.HeaderSignature)
	if res, body := exchange(t, s, unsigned); res.StatusCode != 401 || body != "" {
		t.Errorf("unsigned: %s %s", res.Status, body)
	}
	if all := heard.all(); len(all) != 1 || !errors.Is(all[0], webhook.ErrSignature) {
		t.Errorf("reported: %v", all)
	}
	if e, ok := webhook.FromContext(t.Context()); e != nil || ok {
		t.Errorf("an event in some other context: %v", e)
	}
}

// A next handler that says nothing has taken the event, and one that panics has not.
func TestMiddlewareAnswersForTheNext(t *testing.T) {
	for name, c := range map[string]struct {
		next   http.HandlerFunc
		status int
		report string
	}{
		"says nothing":              {func(http.ResponseWriter, *http.Request) {}, 204, ""},
		"writes a body":             {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, 200, ""},
		"refuses":                   {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnprocessableEntity) }, 422, ""},
		"panics":                    {func(http.ResponseWriter, *http.Request) { panic("out of paper") }, 500, "out of paper"},
		"panics after it has begun": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202); panic("out of ink") }, 202, "out of ink"},
		"hints before it answers":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(201) }, 201, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var heard reports
			s := httptest.NewServer(receiver(t, func(cf *webhook.Config) { cf.Error = heard.hear }).Middleware(c.next))
			defer s.Close()
			if res, _ := exchange(t, s, post(s.URL, testBody)); res.StatusCode != c.status {
				t.Errorf("%s, want %d", res.Status, c.status)
			}
			if all := heard.all(); (len(all) == 1) != (c.report != "") || len(all) > 0 && !strings.Contains(all[0].Error(), c.report) {
				t.Errorf("reported: %v", all)
			}
		})
	}
}

// A body that comes too slowly is given up when the platform would have given up, and
// does not hold others up meanwhile.
func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard reports
		var l pipes
		l.conns = make(chan net.Conn)
		served := make(chan error)
		server := &http.Server{Handler: receiver(t, func(c *webhook.Config) { c.Now, c.Error = nil, heard.hear }).Handler(none)}
		go func() { served <- server.Serve(&l) }()

		slow := l.dial()
		start := time.Now()
		fmt.Fprintf(slow, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"event\"")
		answer := make(chan int)
		go func() {
			res, err := http.ReadResponse(bufio.NewReader(slow), nil)
			if err != nil {
				t.Error(err)
				answer <- 0
				return
			}
			answer <- res.StatusCode
		}()

		timestamp, signature := newSigner(t, testSecret).Sign(time.Now(), []byte(testBody))
		quick := l.dial()
		go fmt.Fprintf(quick, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
			webhook.HeaderTimestamp, timestamp, webhook.HeaderSignature, signature, len(testBody), testBody)
		res, err := http.ReadResponse(bufio.NewReader(quick), nil)
		if err != nil || res.StatusCode != 204 || time.Since(start) != 0 {
			t.Errorf("the other one: %v, %v after %v", res, err, time.Since(start))
		}
		if code := <-answer; code != http.StatusRequestTimeout || time.Since(start) != webhook.SendTimeout {
			t.Errorf("%d after %v", code, time.Since(start))
		}
		if all := heard.all(); len(all) != 1 || !strings.Contains(all[0].Error(), "did not arrive within 3s") {
			t.Errorf("%v", all)
		}
		_ = server.Close()
		<-served
	})
}

// The limit for the body does not end a handler that takes longer than that, nor the
// next request on the connection.
func TestBodyLimitEndsWithTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l pipes
		l.conns = make(chan net.Conn)
		served := make(chan error)
		server := &http.Server{Handler: receiver(t, func(c *webhook.Config) { c.Now = nil }).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second) // whatever its context says
			if err := context.Cause(r.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("its context ended for another reason: %v", err)
			}
		}))}
		go func() { served <- server.Serve(&l) }()
		conn := l.dial()
		in := bufio.NewReader(conn)
		for range 2 {
			timestamp, signature := newSigner(t, testSecret).Sign(time.Now(), []byte(testBody))
			go fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
				webhook.HeaderTimestamp, timestamp, webhook.HeaderSignature, signature, len(testBody), testBody)
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != 204 {
				t.Fatalf("%v, %v", res, err)
			}
		}
		_ = conn.Close()
		_ = server.Close()
		<-served
	})
}

// pipes is a listener in memory, for a real socket stops the bubble's clock.
type pipes struct{ conns chan net.Conn }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *pipes) Close() error {
	close(p.conns)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
