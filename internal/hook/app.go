package hook

import (
	"slices"
	"strings"
	"time"
)

// Account is a customer of the platform. Events happen in accounts; apps are
// owned by accounts.
type Account struct {
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"`
	OwnerEmail string `json:"owner_email,omitempty"`
	// Master is the account this one is a sub-account of, or empty.
	Master string `json:"master_account_id,omitempty"`
}

// App is a program that receives events.
type App struct {
	ID       string
	Name     string
	Account  string // the owner
	ClientID string
	Scopes   []string
	// CarrierCodes bind the app to carriers: it receives the peering events
	// of their numbers.
	CarrierCodes []int32
	Disabled     bool
	// SecretToken signs what the app receives. It is empty if what is stored cannot
	// be decrypted; then nothing can be signed.
	SecretToken Secret
	Created     time.Time
}

// Installation says that an account, or one user of it, has authorized an app.
type Installation struct {
	App     string `json:"app_id"`
	Account string `json:"account_id"`
	// User is empty when the whole account has.
	User string `json:"user_id,omitempty"`
}

// OperatorKey lets a program use the operator API.
type OperatorKey struct {
	ID      string
	Name    string
	Scopes  []KeyScope
	Created time.Time
	Revoked time.Time // zero: valid
}

// KeyScope is what an operator key may do.
type KeyScope string

// The scopes of operator keys.
const (
	// KeyRead reads everything but secrets.
	KeyRead KeyScope = "read"
	// KeyPublish publishes events.
	KeyPublish KeyScope = "publish"
	// KeyManage changes accounts, apps and subscriptions, resends, and reads secrets.
	KeyManage KeyScope = "manage"
)

// KeyScopes lists all of them.
func KeyScopes() []KeyScope { return []KeyScope{KeyRead, KeyPublish, KeyManage} }

// Allows reports whether the key has the scope.
func (k *OperatorKey) Allows(s KeyScope) bool { return slices.Contains(k.Scopes, s) }

// Secret is text that must not appear in a log, an answer or an error. However
// it is printed, it shows as stars; only [Secret.Reveal] tells.
type Secret string

const masked = "********"

// Reveal returns the text itself.
func (s Secret) Reveal() string { return string(s) }

// String masks the secret.
func (s Secret) String() string { return masked }

// GoString masks the secret.
func (s Secret) GoString() string { return masked }

// MarshalText masks the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// Blank reports whether there is nothing in it that could keep a secret.
func (s Secret) Blank() bool { return strings.TrimSpace(string(s)) == "" }
