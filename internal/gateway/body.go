package gateway

import (
	"errors"
	"io"
	"net/http"
)

var (
	errTooLarge   = errors.New("the body is too large")
	errOverloaded = errors.New("too much is being received at a time")
)

// body reads a body of at most so many bytes. What it takes is counted until give is
// called. Room is made for what is there, not for what is announced.
func (g *Gateway) body(r *http.Request, most int64) (body []byte, give func(), err error) {
	var taken int64
	give = func() { g.reading.Add(-taken) }
	if r.ContentLength > most {
		return nil, give, errTooLarge
	}
	const first = 16 << 10
	room := int64(first)
	if r.ContentLength >= 0 {
		room = min(r.ContentLength+1, first)
	}
	for {
		taken += room
		if g.reading.Add(room) > g.config.MaxReading {
			return nil, give, errOverloaded
		}
		grown := make([]byte, len(body), int64(cap(body))+room)
		copy(grown, body)
		body = grown
		for len(body) < cap(body) {
			n, err := r.Body.Read(body[len(body):cap(body)])
			body = body[:len(body)+n]
			switch {
			case int64(len(body)) > most:
				return nil, give, errTooLarge
			case errors.Is(err, io.EOF):
				return body, give, nil
			case err != nil:
				return nil, give, err
			}
		}
		room = max(min(int64(cap(body)), most+1-int64(cap(body))), 1)
	}
}
