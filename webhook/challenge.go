package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
)

// plainToken is what a token to be answered must look like. Anything else might
// be the message of a forged request: see [Signer.EncryptToken].
var plainToken = regexp.MustCompile(`^[A-Za-z0-9_-]{8,128}$`)

// Challenge returns the answer to an endpoint validation, to be sent with status
// 200 and content type application/json. ok is false if the request is some other
// event.
//
// The secret that signed the request answers it. That it was signed is what makes
// answering safe, so there is no way to ask this of a request that was not
// verified.
func (v *Verified) Challenge() (answer []byte, ok bool, err error) {
	// Most bodies are no challenges, and need not be decoded to know that.
	if !bytes.Contains(v.body, []byte(EventURLValidation)) && !bytes.Contains(v.body, []byte(`\u`)) {
		return nil, false, nil
	}
	root := objectOf(v.body) // if it is no event at all, Event will say so
	if event, _ := unquote(root.member("event")); event != EventURLValidation {
		return nil, false, nil
	}
	token, _ := unquote(objectOf(root.member("payload")).member("plainToken"))
	if !plainToken.MatchString(token) {
		return nil, true, fmt.Errorf("%w: plainToken is not 8 to 128 characters of A-Z a-z 0-9 - _", ErrChallenge)
	}
	answer, err = json.Marshal(ChallengeAnswer{token, v.signer.EncryptToken(token)})
	return answer, true, err
}

// ChallengeAnswer is the body with which an endpoint answers its validation.
type ChallengeAnswer struct {
	PlainToken     string `json:"plainToken"`
	EncryptedToken string `json:"encryptedToken"`
}
