package hook

import (
	"crypto/sha256"
	"crypto/subtle"
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
	// State says at which endpoint its subscriptions are served.
	State    AppState
	Disabled bool
	// SecretToken signs what the app receives. It is empty if what is stored cannot
	// be decrypted; then nothing can be signed.
	SecretToken Secret
	// OldToken is the secret token that SecretToken has taken the place of.
	OldToken OldToken
	// ClientSecret is what is known of the secret of its OAuth client, and
	// OldClientSecret of the one before.
	ClientSecret    SecretHash
	OldClientSecret OldClientSecret
	Created         time.Time
}

// Entitled reports whether the app has a scope that entitles to the event type.
func (a *App) Entitled(t *EventType) bool {
	return len(t.Scopes) == 0 || intersects(a.Scopes, t.Scopes)
}

// AppState is whether an app is still being written. The zero value is Production.
type AppState string

// The states of apps.
const (
	Production  AppState = "production"
	Development AppState = "development"
)

// AppStates lists them.
func AppStates() []AppState { return []AppState{Production, Development} }

// User is somebody of an account, whose events subscriptions of scope user may ask
// for.
type User struct {
	Account string
	ID      string
	// Groups are the groups that the user is in, sorted. What concerns the user,
	// concerns them.
	Groups []string
}

// Group is a group of users of an account.
type Group struct {
	Account, ID string
}

// OldToken is a secret token that was replaced. Endpoints may prove themselves with
// it until then; nothing is signed with it any more.
type OldToken struct {
	Secret Secret
	Until  time.Time
}

// OldClientSecret is a client secret that was replaced. It is accepted until then.
type OldClientSecret struct {
	Hash  SecretHash
	Until time.Time
}

// Accepts reports whether the client secret with this hash is one of the app's at
// now.
func (a *App) Accepts(h SecretHash, now time.Time) bool {
	return a.ClientSecret.Equal(h) || a.OldClientSecret.Hash.Equal(h) && now.Before(a.OldClientSecret.Until)
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

// SecretHash is what is kept of a random secret that is only compared: its SHA-256.
// The secret has 128 bits or more, so there is nothing to guess and no need for a
// slow hash. The zero value is the hash of nothing that anybody has.
type SecretHash [sha256.Size]byte

// HashSecret returns the hash of a secret.
func HashSecret(s Secret) SecretHash { return sha256.Sum256([]byte(s)) }

// Equal compares in constant time. The zero value equals nothing, itself neither.
func (h SecretHash) Equal(other SecretHash) bool {
	return h != (SecretHash{}) && subtle.ConstantTimeCompare(h[:], other[:]) == 1
}

// Blank reports whether there is nothing in it that could keep a secret.
func (s Secret) Blank() bool { return strings.TrimSpace(string(s)) == "" }
