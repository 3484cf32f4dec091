package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// Name is the name of an event type whose payload decodes into a T. A plain string
// constant can be used in its place.
type Name[T any] string

// ErrPayload says that a payload does not fit the type that it was to be decoded
// into. The event is genuine and will not come out any better next time, but the
// program can: the handler answers 500, so that an event is still to be had for the
// 85 minutes in which the platform tries again.
var ErrPayload = errors.New("webhook: the payload does not fit its type")

// Mux hands each event to the function for its name. Give its method Serve to
// [Receiver.Handler].
//
// Events that it has no function for go to that of Default, and without one they are
// answered 204: the platform will have new event types, and an error would only make
// it send them again. The zero value is ready to use; functions can be added at any
// time.
type Mux struct {
	mu       sync.RWMutex
	funcs    map[string]func(context.Context, *Event) error
	fallback func(context.Context, *Event) error
}

// On lets m hand events of a name to f, with their payload decoded into a T.
//
//	var mux webhook.Mux
//	webhook.On(&mux, numbermanagement.CNAMUpdatedEvent, func(ctx context.Context, e *webhook.Event, c numbermanagement.CNAMUpdated) error {
//		return update(ctx, c.PhoneNumbers, c.CNAM)
//	})
//	http.Handle("POST /webhooks", receiver.Handler(mux.Serve))
//
// It panics if m has a function for the name, as http.ServeMux does.
func On[T any](m *Mux, name Name[T], f func(ctx context.Context, e *Event, payload T) error) {
	m.Handle(string(name), func(ctx context.Context, e *Event) error {
		payload, err := Decode[T](e)
		if err != nil {
			return err
		}
		return f(ctx, e, payload)
	})
}

// Decode decodes the payload of an event into a T. An error matches [ErrPayload].
func Decode[T any](e *Event) (payload T, err error) {
	if err := json.Unmarshal(e.Payload, &payload); err != nil {
		var zero T
		return zero, fmt.Errorf("%w: %s: %w", ErrPayload, e.Name, err)
	}
	return payload, nil
}

// Handle lets m hand events of a name to f. It panics if m has a function for the
// name.
func (m *Mux) Handle(name string, f func(context.Context, *Event) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case name == "" || f == nil:
		panic("webhook: Mux.Handle needs a name and a function")
	case name == EventURLValidation:
		panic("webhook: the Receiver answers " + name + " itself")
	case m.funcs[name] != nil:
		panic("webhook: there are two functions for " + name)
	case m.funcs == nil:
		m.funcs = map[string]func(context.Context, *Event) error{}
	}
	m.funcs[name] = f
}

// Default lets m hand all other events to f.
func (m *Mux) Default(f func(context.Context, *Event) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fallback = f
}

// Serve hands an event to the function for it.
func (m *Mux) Serve(ctx context.Context, e *Event) error {
	m.mu.RLock()
	f := m.funcs[e.Name]
	if f == nil {
		f = m.fallback
	}
	m.mu.RUnlock()
	if f == nil {
		return nil
	}
	return f(ctx, e)
}
