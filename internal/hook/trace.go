package hook

import "encoding/hex"

// Trace is a place in a trace, as W3C Trace Context has it: the span that what comes
// next is a child of. The zero value is none.
type Trace struct {
	ID   [16]byte
	Span uint64
	// Sampled says that the spans of this trace are recorded.
	Sampled bool
}

// ParseTrace reads a traceparent header. What is not one is no trace, and no fault of
// the request that it comes with.
func ParseTrace(traceparent string) (t Trace) {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	s := traceparent
	// Later versions may add to what version 0 has, behind another hyphen.
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || len(s) > length && (s[:2] == "00" || s[length] != '-') {
		return Trace{}
	}
	for _, c := range []byte(s[:length]) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Trace{}
		}
	}
	var version, flags [1]byte
	var span [8]byte
	for _, x := range []struct {
		to   []byte
		from string
	}{{version[:], s[:2]}, {t.ID[:], s[3:35]}, {span[:], s[36:52]}, {flags[:], s[53:55]}} {
		if _, err := hex.Decode(x.to, []byte(x.from)); err != nil {
			return Trace{}
		}
	}
	for _, b := range span {
		t.Span = t.Span<<8 | uint64(b)
	}
	if t.ID == ([16]byte{}) || t.Span == 0 {
		return Trace{} // forbidden by the standard
	}
	t.Sampled = flags[0]&1 == 1
	return t
}

// IsZero reports whether there is no trace.
func (t Trace) IsZero() bool { return t == Trace{} }

// String returns the traceparent header.
func (t Trace) String() string { return string(t.Append(make([]byte, 0, 55))) }

// Append appends the traceparent header.
func (t Trace) Append(b []byte) []byte {
	b = hex.AppendEncode(append(b, "00-"...), t.ID[:])
	b = appendHex(append(b, '-'), t.Span, 16)
	if t.Sampled {
		return append(b, "-01"...)
	}
	return append(b, "-00"...)
}

// Trace returns where an attempt of the delivery is in its event's trace. Without a
// trace of the event it is in one of the delivery's own, whose id has the digits of the
// request id, and which counts as recorded: in the webhook log.
func (d DeliveryID) Trace(event Trace, span uint64) Trace {
	t := Trace{ID: event.ID, Span: span, Sampled: event.Sampled}
	if event.IsZero() {
		t.Sampled = true
		for i := range 8 {
			t.ID[i], t.ID[8+i] = byte(uint64(d.Event)>>(56-8*i)), byte(uint64(d.Subscription)>>(56-8*i))
		}
	}
	return t
}
