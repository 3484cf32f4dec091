// Package seal encrypts the secrets that must be used again.
//
// A [Key] seals with AES-256-GCM and binds what it seals to its place, so that
// a sealed value copied to another row does not open there. Secrets that are
// only compared are not sealed but hashed.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrKey says that a value was sealed with another key, for another place, or
// was changed since.
var ErrKey = errors.New("sealed with another key, for another place, or damaged")

const (
	version = 1
	keySize = 32
)

// Key seals and opens. It is safe for concurrent use.
type Key struct {
	aead cipher.AEAD
	raw  []byte
}

// NewKey returns the key of 32 bytes.
func NewKey(raw []byte) (*Key, error) {
	if len(raw) != keySize {
		return nil, fmt.Errorf("seal: key has %d bytes, want %d", len(raw), keySize)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return &Key{aead, bytes.Clone(raw)}, nil
}

// Derive returns a key of 32 bytes for a purpose: always the same one, which tells
// nothing about this key or about those for other purposes (RFC 5869).
func (k *Key) Derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, k.raw, nil, "switchhook/"+purpose, keySize)
	if err != nil {
		panic(err) // it is not too long
	}
	return key
}

// Parse reads a key from its text form: 32 bytes in base64.
func Parse(text string) (*Key, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		// The decoder's error quotes the text; a key has no place in a message.
		return nil, errors.New("seal: the key is not base64; make one with: head -c 32 /dev/urandom | base64")
	}
	return NewKey(raw)
}

// Load reads the key file at path.
func Load(path string) (*Key, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	k, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, path)
	}
	return k, nil
}

// LoadOrCreate is [Load], but makes a key of its own where there is no file. The
// file is readable by its owner only; created says whether it was made.
func LoadOrCreate(path string) (k *Key, created bool, err error) {
	k, err = Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, false, err
	}
	var raw [keySize]byte
	_, _ = rand.Read(raw[:]) // never fails, says crypto/rand
	if err := create(path, base64.StdEncoding.EncodeToString(raw[:])+"\n"); err != nil {
		return nil, false, fmt.Errorf("seal: create key: %w", err)
	}
	k, err = NewKey(raw[:])
	return k, true, err
}

// create makes the file whole and durable or not at all: a platform that sealed
// with a key which a power cut then took away could never read its secrets.
func create(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike Rename, never replaces another's key
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Seal encrypts plain for place, a name such as "app/h3Kq.../secret_token".
func (k *Key) Seal(plain []byte, place string) []byte {
	return k.aead.Seal([]byte{version}, nil, plain, []byte(place)) //nolint:gosec // the nonce is random: see NewKey
}

// Open decrypts what Seal returned for the same place, or returns [ErrKey].
func (k *Key) Open(sealed []byte, place string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != version {
		return nil, ErrKey
	}
	plain, err := k.aead.Open(nil, nil, sealed[1:], []byte(place))
	if err != nil {
		return nil, ErrKey
	}
	return plain, nil
}
