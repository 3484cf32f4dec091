package gateway

import (
	"container/list"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

var (
	errTooLarge   = errors.New("the body is too large")
	errOverloaded = errors.New("too much is being received at a time")
)

// readings bounds the bytes of bodies that are in memory. When there are too many, the
// body is given up that has been on its way for longest. So clients that send large ones
// slowly, on purpose, push each other out, and whoever just sends his comes through.
type readings struct {
	most int64

	mu    sync.Mutex
	bytes int64
	open  list.List // of *reading, of which not all has arrived, the longest first
}

// reading is one body.
type reading struct {
	all   *readings
	stop  func() // makes a read that is under way fail
	bytes int64
	place *list.Element // nil: it has arrived, or was given up
	gone  bool
}

func (all *readings) begin(stop func()) *reading {
	r := &reading{all: all, stop: stop}
	all.mu.Lock()
	defer all.mu.Unlock()
	r.place = all.open.PushBack(r)
	return r
}

// take makes room for so many more bytes.
func (r *reading) take(n int64) error {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	if r.gone {
		return errOverloaded
	}
	r.bytes += n
	r.all.bytes += n
	for r.all.bytes > r.all.most {
		first := r.all.open.Front()
		if first == nil || first == r.place {
			return errOverloaded
		}
		victim := first.Value.(*reading)
		victim.gone = true
		victim.leave()
		victim.stop()
	}
	return nil
}

// arrived notes that there is no more to come, and reports whether it was kept.
func (r *reading) arrived() bool {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	if r.place != nil {
		r.all.open.Remove(r.place)
		r.place = nil
	}
	return !r.gone
}

// give gives the room back.
func (r *reading) give() {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	r.leave()
}

// leave takes it out of the account; all.mu is held.
func (r *reading) leave() {
	r.all.bytes -= r.bytes
	r.bytes = 0
	if r.place != nil {
		r.all.open.Remove(r.place)
		r.place = nil
	}
}

// body reads a body of at most so many bytes. What it takes is counted until give is
// called. Room is made for what is there, not for what is announced.
func (g *Gateway) body(w http.ResponseWriter, r *http.Request, most int64) (body []byte, give func(), err error) {
	if r.ContentLength > most {
		return nil, func() {}, errTooLarge
	}
	own := g.reading.begin(func() { _ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) })
	give = own.give
	const first = 16 << 10
	room := int64(first)
	if r.ContentLength >= 0 {
		room = min(r.ContentLength+1, first)
	}
	for {
		if err := own.take(room); err != nil {
			return nil, give, err
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
			case err == nil:
				continue
			case !own.arrived():
				return nil, give, errOverloaded
			case errors.Is(err, io.EOF):
				return body, give, nil
			}
			return nil, give, err
		}
		room = max(min(int64(cap(body)), most+1-int64(cap(body))), 1)
	}
}
