package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
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
//   - 204 when f returns nil, and to duplicates that Config.Duplicates knows;
//   - 500 when f returns an error or panics, so that the platform tries again;
//   - 400 when f returns a [Permanent] error, or the body is not an event;
//   - 401 when the signature, the timestamp or Config.Auth is not satisfied;
//   - 405, 408, 413 and 415 to requests of another method, pace, size or content type;
//   - 503 while another request with the same body is still being handled, if there is
//     a Config.Duplicates.
//
// The context that f gets ends shortly before the platform stops waiting. What
// takes longer belongs into a queue.
func (r *Receiver) Handler(f func(context.Context, *Event) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// The platform's time runs while the body arrives, so ours begins before.
		ctx, cancel := context.WithTimeout(req.Context(), SendTimeout-answerMargin)
		defer cancel()
		e := r.accept(w, req)
		if e == nil {
			return
		}
		err := r.once(ctx, e, func() error { return call(ctx, e, f) })
		r.tell(req, err)
		w.WriteHeader(status(err))
	})
}

// Middleware returns a handler that verifies each request and answers endpoint
// validations as that of [Receiver.Handler] does, and hands every other request to
// next, which answers it. There [FromContext] has the event, and the body can be read
// once more. Duplicates are known by what next has answered with a status of success.
func (r *Receiver) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx, cancel := context.WithTimeout(req.Context(), SendTimeout-answerMargin)
		defer cancel()
		e := r.accept(w, req)
		if e == nil {
			return
		}
		answer := &answer{ResponseWriter: w}
		err := r.once(ctx, e, func() error {
			return call(ctx, e, func(ctx context.Context, e *Event) error {
				inner := req.WithContext(context.WithValue(ctx, eventKey{}, e))
				inner.Body = io.NopCloser(bytes.NewReader(e.Body))
				if next.ServeHTTP(answer, inner); answer.status > 299 {
					return errAnswered
				}
				return nil
			})
		})
		if !errors.Is(err, errAnswered) {
			r.tell(req, err)
		}
		if answer.status == 0 {
			w.WriteHeader(status(err))
		}
	})
}

// FromContext returns the event of a request that has come through
// [Receiver.Middleware].
func FromContext(ctx context.Context) (e *Event, ok bool) {
	e, ok = ctx.Value(eventKey{}).(*Event)
	return e, ok
}

type eventKey struct{}

// errAnswered says that an event was not handled, and the platform told so.
var errAnswered = errors.New("webhook: answered with a status of failure")

// answer notes the status of what goes through it.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// status returns what the platform is answered when an event was handled so.
func status(err error) int {
	_, done := errors.AsType[*handled](err)
	_, final := errors.AsType[*permanent](err)
	switch {
	case err == nil || done:
		return http.StatusNoContent
	case final:
		return http.StatusBadRequest
	case errors.Is(err, ErrBusy):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (r *Receiver) tell(req *http.Request, err error) {
	if err != nil && r.report != nil {
		r.report(req, err)
	}
}

// accept verifies a request and returns its event. If there is none to be handled, it
// answers the request and returns nil.
func (r *Receiver) accept(w http.ResponseWriter, req *http.Request) *Event {
	e, challenge, status, err := r.read(w, req)
	if e != nil {
		return e
	}
	r.tell(req, err)
	if challenge != nil {
		w.Header().Set("Content-Type", ContentType)
	}
	w.WriteHeader(status)
	_, _ = w.Write(challenge) // who does not read the answer asks again
	return nil
}

func (r *Receiver) read(w http.ResponseWriter, req *http.Request) (e *Event, challenge []byte, status int, err error) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, nil, http.StatusMethodNotAllowed, fmt.Errorf("webhook: method %.20q", req.Method)
	}
	if !isJSON(req.Header.Get("Content-Type")) {
		return nil, nil, http.StatusUnsupportedMediaType, errors.New("webhook: content-type is not application/json")
	}
	body, status, err := r.body(w, req)
	if err != nil {
		return nil, nil, status, err
	}
	v, err := r.Verify(req.Header, body)
	if err != nil {
		if errors.Is(err, ErrAuth) && r.auth[0].scheme != "" {
			w.Header().Set("WWW-Authenticate", r.auth[0].scheme+` realm="webhooks"`)
		}
		return nil, nil, http.StatusUnauthorized, err
	}
	if answer, ok, err := v.Challenge(); err != nil {
		return nil, nil, http.StatusBadRequest, err
	} else if ok {
		return nil, answer, http.StatusOK, nil
	}
	if e, err = v.Event(); err != nil {
		return nil, nil, http.StatusBadRequest, err
	}
	e.RequestID, e.TrackingID = req.Header.Get(HeaderRequestID), req.Header.Get(HeaderTrackingID)
	return e, nil, 0, nil
}

func isJSON(contentType string) bool {
	if contentType == ContentType {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}

// body reads the body, for as long as the platform waits. Who takes longer for it is
// not the platform, and does not get to hold a connection.
func (r *Receiver) body(w http.ResponseWriter, req *http.Request) (body []byte, status int, err error) {
	conn := http.NewResponseController(w)
	limited := conn.SetReadDeadline(time.Now().Add(SendTimeout)) == nil // not every server can do that
	in := http.MaxBytesReader(w, req.Body, r.maxBody)
	// Room for what is announced, but not for what is only announced.
	room := min(max(req.ContentLength, 0), 64<<10)
	b := bytes.NewBuffer(make([]byte, 0, room+bytes.MinRead))
	_, err = b.ReadFrom(in)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case tooLarge:
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("webhook: body of more than %d bytes", r.maxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, http.StatusRequestTimeout, fmt.Errorf("webhook: the body did not arrive within %v", SendTimeout)
	case err != nil:
		return nil, http.StatusBadRequest, fmt.Errorf("webhook: read body: %w", err)
	}
	if limited {
		_ = conn.SetReadDeadline(time.Time{}) // it would end the handler's context
	}
	return b.Bytes(), 0, nil
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
