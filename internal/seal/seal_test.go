package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWhatIsSealedOpensOnlyWithItsKeyAndInItsPlace(t *testing.T) {
	key, other := testKey(1), testKey(2)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		place := rapid.String().Draw(t, "place")
		sealed := key.Seal(plain, place)
		if got, err := key.Open(sealed, place); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("Open: %q, %v", got, err)
		}
		if len(plain) >= 8 && bytes.Contains(sealed, plain) {
			t.Fatal("the sealed value shows the secret")
		}
		flipped := bytes.Clone(sealed)
		flipped[rapid.IntRange(0, len(sealed)-1).Draw(t, "at")] ^= 1
		for name, open := range map[string]func() ([]byte, error){
			"another key":   func() ([]byte, error) { return other.Open(sealed, place) },
			"another place": func() ([]byte, error) { return key.Open(sealed, place+"x") },
			"a flipped bit": func() ([]byte, error) { return key.Open(flipped, place) },
			"cut short":     func() ([]byte, error) { return key.Open(sealed[:len(sealed)-1], place) },
			"nothing":       func() ([]byte, error) { return key.Open(nil, place) },
		} {
			if _, err := open(); !errors.Is(err, ErrKey) {
				t.Fatalf("%s: %v, want ErrKey", name, err)
			}
		}
	})
}

func TestKeyFileIsCreatedForItsOwnerOnlyAndThenKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "switchhook.key")
	k1, created, err := LoadOrCreate(path)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	k2, created, err := LoadOrCreate(path)
	if err != nil || created {
		t.Fatalf("second time: created %v, %v", created, err)
	}
	if _, err := k2.Open(k1.Seal([]byte("x"), "p"), "p"); err != nil {
		t.Errorf("the key read back is another: %v", err)
	}
	if rest, _ := filepath.Glob(path + ".*"); len(rest) > 0 {
		t.Errorf("left behind: %v", rest)
	}
}

func TestBadKeysAreRefusedWithoutShowingThem(t *testing.T) {
	for name, text := range map[string]string{
		"not base64": "hunter2-hunter2-hunter2!",
		"too short":  "aHVudGVyMg==",
		"empty":      "",
	} {
		_, err := Parse(text)
		if err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func testKey(b byte) *Key {
	k, err := NewKey(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		panic(err)
	}
	return k
}

// Each purpose has a key of its own, the same each time, and none is the key itself.
func TestDerive(t *testing.T) {
	k, err := NewKey(bytes.Repeat([]byte{7}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKey(bytes.Repeat([]byte{8}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	a := k.Derive("a")
	if len(a) != keySize || !bytes.Equal(a, k.Derive("a")) || bytes.Equal(a, k.Derive("b")) || bytes.Equal(a, other.Derive("a")) || bytes.Equal(a, k.raw) {
		t.Error("the derived keys are not what they should be")
	}
}
