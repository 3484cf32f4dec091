package mail

import (
	"errors"
	"io"
	"net"
	"testing"
)

// A server cannot fill the memory by talking without end.
func TestAnswersAreBounded(t *testing.T) {
	n, err := io.Copy(io.Discard, &conn{chatter{}, maxAnswers})
	if n != maxAnswers || !errors.Is(err, errTooMuch) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// chatter never ends.
type chatter struct{ net.Conn }

func (chatter) Read(p []byte) (int, error) { return len(p), nil }
