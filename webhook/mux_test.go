package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/webhook"
)

type meeting struct {
	Topic string `json:"topic"`
	Count *int   `json:"count"`
}

const meetingStarted webhook.Name[meeting] = "meeting.started"

// Each event reaches the function for its name, and with On as a value of its type.
func TestMux(t *testing.T) {
	var mux webhook.Mux
	var got []string
	webhook.On(&mux, meetingStarted, func(_ context.Context, e *webhook.Event, m meeting) error {
		got = append(got, "started "+m.Topic+" "+e.RequestID)
		return nil
	})
	webhook.On(&mux, "meeting.ended", func(_ context.Context, _ *webhook.Event, m map[string]any) error {
		got = append(got, fmt.Sprint("ended ", m))
		return nil
	})
	mux.Handle("user.created", func(_ context.Context, e *webhook.Event) error {
		got = append(got, "created "+string(e.Payload))
		return errors.New("no room")
	})
	h := receiver(t).Handler(mux.Serve)
	for body, want := range map[string]struct {
		status int
		got    string
	}{
		`{"event":"meeting.started","payload":{"topic":"Lunch"}}`: {204, "started Lunch 0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52"},
		`{"event":"meeting.ended","payload":{"topic":"Lunch"}}`:   {204, "ended map[topic:Lunch]"},
		`{"event":"user.created","payload":[1]}`:                  {500, "created [1]"},
		`{"event":"user.deleted","payload":[1]}`:                  {204, ""},
		`{"event":"Meeting.started","payload":{"topic":"L"}}`:     {204, ""},
		`{"event":"meeting.started","payload":{"topic":1}}`:       {500, ""},
		`{"event":"meeting.started","payload":null}`:              {204, "started  0193a4f2_b7c0_0001_7f3e_9c2d11aa0b52"},
		`{"event":"meeting.started"}`:                             {500, ""},
		challengeFor("abcdefgh"):                                  {200, ""},
	} {
		got = nil
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, post("/", body)); w.Code != want.status || strings.Join(got, "; ") != want.got {
			t.Errorf("%s: %d, %q", body, w.Code, got)
		}
	}
}

// What has no function of its own goes to the default one, if there is one.
func TestMuxDefault(t *testing.T) {
	var mux webhook.Mux
	mux.Handle("a", none)
	e := &webhook.Event{Name: "b"}
	if err := mux.Serve(t.Context(), e); err != nil {
		t.Errorf("without a default: %v", err)
	}
	no := errors.New("no use for it")
	mux.Default(func(context.Context, *webhook.Event) error { return no })
	if err := mux.Serve(t.Context(), e); !errors.Is(err, no) {
		t.Errorf("with a default: %v", err)
	}
	if err := mux.Serve(t.Context(), &webhook.Event{Name: "a"}); err != nil {
		t.Errorf("one that has a function: %v", err)
	}
}

// A payload that does not fit is an error of its own kind, which is not final, and not
// one of the verification.
func TestPayloadsThatDoNotFit(t *testing.T) {
	for _, payload := range []string{`{"topic":1}`, `[]`, `"x"`, `7`, `{"count":"x"}`, `{"count":99999999999999999999}`, ``} {
		e := &webhook.Event{Name: "meeting.started", Payload: []byte(payload)}
		m, err := webhook.Decode[meeting](e)
		if !errors.Is(err, webhook.ErrPayload) || m != (meeting{}) || !strings.Contains(err.Error(), "meeting.started") {
			t.Errorf("%s: %+v, %v", payload, m, err)
			continue
		}
		for name, reason := range sentinels() {
			if errors.Is(err, reason) && reason != webhook.ErrPayload {
				t.Errorf("%v matches %s", err, name)
			}
		}
	}
	v := verified(t, `{"event":"meeting.started","payload":{"topic":1}}`)
	before := *v
	e, err := v.Event()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := webhook.Decode[meeting](e); err == nil {
		t.Error("it fits")
	}
	if v.Timestamp != before.Timestamp || v.Secret != before.Secret || v.Replay != before.Replay || v.BodyHash != before.BodyHash || e.Verified != v {
		t.Error("decoding changed what was verified")
	}
}

// Mistakes of the program show when it starts.
func TestMuxMistakes(t *testing.T) {
	for name, f := range map[string]func(*webhook.Mux){
		"two functions": func(m *webhook.Mux) { m.Handle("a", none); m.Handle("a", none) },
		"On after it": func(m *webhook.Mux) {
			m.Handle(string(meetingStarted), none)
			webhook.On(m, meetingStarted, func(context.Context, *webhook.Event, meeting) error { return nil })
		},
		"no name":       func(m *webhook.Mux) { m.Handle("", none) },
		"no function":   func(m *webhook.Mux) { m.Handle("a", nil) },
		"the challenge": func(m *webhook.Mux) { m.Handle(webhook.EventURLValidation, none) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f(new(webhook.Mux))
		}()
	}
}
