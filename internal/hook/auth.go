package hook

// Auth is what proves the platform to the endpoint beside the signature, the
// contract's custom_header. The zero value is no such proof.
type Auth struct {
	Mode AuthMode

	// AuthBasic
	Username string
	Password Secret

	// AuthOAuth: client credentials at TokenURL.
	ClientID     string
	ClientSecret Secret
	TokenURL     string
	Scope, State string
	InBody       bool // client_authentication: body rather than header

	// AuthHeader
	Header string
	Value  Secret

	// Unreadable is set when the stored settings cannot be decrypted. Attempts then
	// end as CannotGetCustomHeader.
	Unreadable bool
}

// AuthMode is the contract's custom_header_type.
type AuthMode uint8

const (
	// AuthNone: the signature only.
	AuthNone AuthMode = iota
	// AuthBasic: user name and password.
	AuthBasic
	// AuthOAuth: a bearer token from the subscriber's token URL.
	AuthOAuth
	// AuthHeader: one header of the subscriber's choice.
	AuthHeader
)
