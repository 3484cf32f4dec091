package forward

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/switchhook/switchhook/internal/canon"
)

// appendLine appends a message as a line of JSON.
func appendLine(dst []byte, m *Message) []byte {
	text := func(name, s string) {
		dst = canon.AppendText(append(append(dst, name...), ':'), s)
	}
	text(`{"key"`, m.Key)
	dst = strconv.AppendInt(append(dst, `,"id":`...), m.ID, 10)
	text(`,"source"`, m.Source)
	dst = m.Received.UTC().AppendFormat(append(dst, `,"received":"`...), time.RFC3339Nano)
	dst = append(dst, '"')
	if m.Name != "" {
		text(`,"event"`, m.Name)
	}
	if m.RequestID != "" {
		text(`,"request_id"`, m.RequestID)
	}
	if m.Conflict {
		dst = append(dst, `,"request_id_reused":true`...)
	}
	if m.Replay {
		dst = append(dst, `,"replay":true`...)
	}
	dst = append(dst, `,"headers":{`...)
	for i, x := range m.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(canon.AppendText(dst, strings.ToLower(x.Name)), ':')
		dst = canon.AppendText(dst, x.Value)
	}
	dst = append(dst, '}')
	// The signature is over these very bytes, so they stay as they are where they can.
	switch {
	case json.Valid(m.Body) && utf8.Valid(m.Body) && !bytes.ContainsAny(m.Body, "\r\n"):
		dst = append(append(dst, `,"body":`...), m.Body...)
	case len(m.Body) > 0:
		dst = base64.StdEncoding.AppendEncode(append(dst, `,"body_base64":"`...), m.Body)
		dst = append(dst, '"')
	}
	return append(dst, "}\n"...)
}

// Writer returns a target that writes a line for each event to w.
func Writer(w io.Writer) Target { return &writerTarget{w: w} }

type writerTarget struct {
	w   io.Writer
	buf []byte
}

func (t *writerTarget) Take(_ context.Context, messages []*Message) (int, error) {
	// One by one, so that what was written is not written again if the next fails.
	for i, m := range messages {
		t.buf = appendLine(t.buf[:0], m)
		if _, err := t.w.Write(t.buf); err != nil {
			return i, err
		}
	}
	return len(messages), nil
}

func (t *writerTarget) Close() error { return nil }

// FileConfig says how events are written to a file.
type FileConfig struct {
	Path string
	// Rotate is the size from which on the file is set aside, with the time in its name,
	// and a new one is begun. 0: never.
	Rotate int64
	// Keep is how many of those that were set aside are kept. 0: all.
	Keep int
}

// File returns a target that writes a line for each event to a file, which is on the
// disk before the event counts as taken. The file is opened when it is first needed.
func File(c FileConfig) (Target, error) {
	if info, err := os.Stat(filepath.Dir(c.Path)); err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("forward: %s is not a directory", filepath.Dir(c.Path))
	}
	// A half line could not be taken back from anything but a regular file.
	if info, err := os.Stat(c.Path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("forward: %s is a directory; name a file in it", c.Path)
	} else if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("forward: %s is not a regular file", c.Path)
	}
	return &fileTarget{config: c}, nil
}

type fileTarget struct {
	config FileConfig
	file   *os.File // nil: it is to be opened
	size   int64    // of what is whole and on the disk
	buf    []byte
}

// open opens the file, without the half line that a crash may have left in it: that
// event is written again.
func (t *fileTarget) open() error {
	f, err := os.OpenFile(t.config.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	size, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = syncDir(filepath.Dir(t.config.Path))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	t.file, t.size = f, size
	return nil
}

// wholeLines returns the size of a file up to the end of its last whole line.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for end := info.Size(); end > 0; {
		from := max(0, end-int64(len(buf)))
		n, err := f.ReadAt(buf[:end-from], from)
		if err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return 0, nil
}

// syncDir makes sure that a file is still there after a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrPermission) {
		err = nil // not every system does that for directories
	}
	return errors.Join(err, d.Close())
}

// isOurs reports whether the file is the one that is open, as it was left. Somebody may
// have moved or deleted it, and what were written then nobody would find.
func (t *fileTarget) isOurs() bool {
	own, err := t.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(t.config.Path)
	return err == nil && os.SameFile(own, there) && there.Size() == t.size
}

func (t *fileTarget) Take(_ context.Context, messages []*Message) (int, error) {
	if t.file != nil && !t.isOurs() {
		if err := t.Close(); err != nil {
			return 0, err
		}
	}
	if t.file == nil {
		if err := t.open(); err != nil {
			return 0, err
		}
	}
	if t.config.Rotate > 0 && t.size >= t.config.Rotate {
		if err := t.rotate(); err != nil {
			return 0, err
		}
	}
	n := 0
	t.buf = t.buf[:0]
	for n < len(messages) && (t.config.Rotate == 0 || t.size+int64(len(t.buf)) < t.config.Rotate) {
		t.buf = appendLine(t.buf, messages[n])
		n++
	}
	_, err := t.file.WriteAt(t.buf, t.size)
	if err == nil {
		err = t.file.Sync()
	}
	if err != nil {
		// Whoever reads the file should not see half a line for long. What is wrong with it
		// now is found when it is opened again.
		_ = t.file.Truncate(t.size)
		return 0, errors.Join(err, t.Close())
	}
	t.size += int64(len(t.buf))
	return n, nil
}

// asideTime is in the names of files that were set aside; they sort by it.
const asideTime = "20060102T150405.000000000"

func (t *fileTarget) rotate() error {
	if err := t.Close(); err != nil {
		return err
	}
	extension := filepath.Ext(t.config.Path)
	stem := strings.TrimSuffix(t.config.Path, extension)
	if err := os.Rename(t.config.Path, stem+"-"+time.Now().UTC().Format(asideTime)+extension); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.open(); err != nil {
		return err
	}
	return t.drop(stem, extension)
}

// drop deletes what was set aside and is more than is to be kept.
func (t *fileTarget) drop(stem, extension string) error {
	if t.config.Keep == 0 {
		return nil
	}
	dir, prefix := filepath.Split(stem)
	entries, err := os.ReadDir(filepath.Clean(dir + "."))
	if err != nil {
		return err
	}
	var aside []string
	for _, e := range entries {
		middle, isOurs := strings.CutPrefix(e.Name(), prefix+"-")
		middle, ends := strings.CutSuffix(middle, extension)
		if _, err := time.Parse(asideTime, middle); isOurs && ends && err == nil {
			aside = append(aside, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(aside)
	for len(aside) > t.config.Keep {
		if err := os.Remove(aside[0]); err != nil {
			return err
		}
		aside = aside[1:]
	}
	return nil
}

func (t *fileTarget) Close() error {
	if t.file == nil {
		return nil
	}
	f := t.file
	t.file = nil
	return f.Close()
}
