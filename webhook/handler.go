package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"time"
)

// Permanent wraps an error to say that sending the event again would not help. The
// handler then answers 400, after which the platform makes no further attempt.
// Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanent{err}
}

type permanent struct{ error }

func (p *permanent) Unwrap() error { return p.error }

// answerMargin is kept back of [SendTimeout] for the answer's way back.
const answerMargin = 200 * time.Millisecond

// Handler returns a handler that verifies each request, answers endpoint
// validations and calls f with every other event. It answers
//
//   - 204 when f returns nil;
//   - 500 when f returns an error or panics, so that the platform tries again;
//   - 400 when f returns a [Permanent] error, or the body is not an event;
//   - 401 when the signature or the timestamp is not accepted;
//   - 405, 413 and 415 to requests of another method, size or content type.
//
// The context that f gets ends shortly before the platform stops waiting. What
// takes longer belongs into a queue.
func (r *Receiver) Handler(f func(context.Context, *Event) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		status, body, err := r.serve(w, req, f)
		if err != nil && r.report != nil {
			r.report(req, err)
		}
		if body != nil {
			w.Header().Set("Content-Type", ContentType)
		}
		w.WriteHeader(status)
		_, _ = w.Write(body) // who does not read the answer asks again
	})
}

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request, f func(context.Context, *Event) error) (status int, answer []byte, err error) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, nil, fmt.Errorf("webhook: method %.20q", req.Method)
	}
	if media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return http.StatusUnsupportedMediaType, nil, errors.New("webhook: content-type is not application/json")
	}
	// The platform's time runs while the body arrives, so ours begins before.
	ctx, cancel := context.WithTimeout(req.Context(), SendTimeout-answerMargin)
	defer cancel()
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, r.maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return http.StatusRequestEntityTooLarge, nil, fmt.Errorf("webhook: body of more than %d bytes", r.maxBody)
	} else if err != nil {
		return http.StatusBadRequest, nil, fmt.Errorf("webhook: read body: %w", err)
	}
	v, err := r.Verify(req.Header, body)
	if err != nil {
		return http.StatusUnauthorized, nil, err
	}
	if answer, ok, err := v.Challenge(); err != nil {
		return http.StatusBadRequest, nil, err
	} else if ok {
		return http.StatusOK, answer, nil
	}
	e, err := v.Event()
	if err != nil {
		return http.StatusBadRequest, nil, err
	}
	e.RequestID, e.TrackingID = req.Header.Get(HeaderRequestID), req.Header.Get(HeaderTrackingID)
	err = call(ctx, e, f)
	if _, ok := errors.AsType[*permanent](err); ok {
		return http.StatusBadRequest, nil, err
	} else if err != nil {
		return http.StatusInternalServerError, nil, err
	}
	return http.StatusNoContent, nil, nil
}

// call turns a panic into an error: one bad event must not end the program, and
// the platform will bring it again.
func call(ctx context.Context, e *Event, f func(context.Context, *Event) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("webhook: handler of %s panicked: %v\n%s", e.Name, p, debug.Stack())
		}
	}()
	return f(ctx, e)
}
