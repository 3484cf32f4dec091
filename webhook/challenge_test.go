package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/switchhook/switchhook/webhook"
)

// challengeFor returns a challenge as the platform writes it.
func challengeFor(plainToken string) string {
	text, _ := json.Marshal(plainToken)
	return fmt.Sprintf(`{"payload":{"plainToken":%s},"event_ts":1763758800123,"event":"endpoint.url_validation"}`, text)
}

// The answer that the contract asks for, to the byte.
func TestChallengeIsAnswered(t *testing.T) {
	answer, ok, err := verified(t, challengeFor("qgg8vlvZRS6UYooatFL8Aw")).Challenge()
	const want = `{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"24fb98936d97c3fffc19592b1a530dad94430214b9db37523b02a36cfb3736e7"}`
	if string(answer) != want || !ok || err != nil {
		t.Errorf("%s, %v, %v", answer, ok, err)
	}
}

// However a challenge is written, it is one, and the token is what the JSON means.
func TestChallengesInOtherWords(t *testing.T) {
	const event = `"event":"endpoint.url_validation"`
	for name, c := range map[string]struct {
		body  string
		token string // to be answered; empty: the request is no challenge
	}{
		"another order of keys":       {`{` + event + `,"payload":{"plainToken":"abcdefgh"}}`, "abcdefgh"},
		"further keys":                {`{"a":[1,{"event":"x"}],` + event + `,"payload":{"b":null,"plainToken":"abcdefgh","c":{}},"d":true}`, "abcdefgh"},
		"white space":                 {" {\n" + event + " ,\t\"payload\" : { \"plainToken\" :\r\n\"abcdefgh\" } } \n", "abcdefgh"},
		"an escape in the token":      {`{` + event + `,"payload":{"plainToken":"\u0041bcdefgh"}}`, "Abcdefgh"},
		"a token of escapes":          {`{` + event + `,"payload":{"plainToken":"\u0061\u0062\u0063\u0064\u0065\u0066\u0067\u0068"}}`, "abcdefgh"},
		"an escape in the event":      {`{"event":"endpoint.url\u005fvalidation","payload":{"plainToken":"abcdefgh"}}`, "abcdefgh"},
		"an escape in a key":          {`{"\u0065vent":"endpoint.url_validation","payload":{"plain\u0054oken":"abcdefgh"}}`, "abcdefgh"},
		"the last of two tokens":      {`{` + event + `,"payload":{"plainToken":"abcdefgh","plainToken":"ABCDEFGH"}}`, "ABCDEFGH"},
		"the last of two payloads":    {`{"payload":{"plainToken":"abcdefgh"},` + event + `,"payload":{"plainToken":"ABCDEFGH"}}`, "ABCDEFGH"},
		"the last of two events":      {`{"event":"x",` + event + `,"payload":{"plainToken":"abcdefgh"}}`, "abcdefgh"},
		"a token of another case":     {`{` + event + `,"payload":{"plainToken":"abcdefgh","PlainToken":"ABCDEFGH"}}`, "abcdefgh"},
		"an event that is the first":  {`{` + event + `,"event":"x","payload":{"plainToken":"abcdefgh"}}`, ""},
		"an event that is null again": {`{` + event + `,"event":null,"payload":{"plainToken":"abcdefgh"}}`, ""},
		"an event of another case":    {`{"event":"x","Event":"endpoint.url_validation","payload":{"plainToken":"abcdefgh"}}`, ""},
		"the name in upper case":      {`{"event":"ENDPOINT.URL_VALIDATION","payload":{"plainToken":"abcdefgh"}}`, ""},
		"the name with a space":       {`{"event":"endpoint.url_validation ","payload":{"plainToken":"abcdefgh"}}`, ""},
		"another event":               {testBody, ""},
		"the name in the payload":     {`{"event":"x","payload":{` + event + `,"plainToken":"abcdefgh"}}`, ""},
		"no event":                    {`{"payload":{"plainToken":"abcdefgh","x":"endpoint.url_validation"}}`, ""},
		"an event that is a list":     {`{"event":["endpoint.url_validation"],"payload":{"plainToken":"abcdefgh"}}`, ""},
		"a list of challenges":        {`[{` + event + `,"payload":{"plainToken":"abcdefgh"}}]`, ""},
		"something after it":          {`{` + event + `,"payload":{"plainToken":"abcdefgh"}}{}`, ""},
		"cut off":                     {`{` + event + `,"payload":{"plainToken":"abcdefgh"}`, ""},
		"no JSON":                     {`endpoint.url_validation`, ""},
		"null":                        {`null`, ""},
		"nothing":                     {``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer, ok, err := verified(t, c.body).Challenge()
			if c.token == "" {
				if answer != nil || ok || err != nil {
					t.Errorf("taken for a challenge: %s, %v, %v", answer, ok, err)
				}
				return
			}
			want := fmt.Sprintf(`{"plainToken":"%s","encryptedToken":"%s"}`, c.token, hmacHex(testSecret, c.token))
			if string(answer) != want || !ok || err != nil {
				t.Errorf("%s, %v, %v, want %s", answer, ok, err, want)
			}
		})
	}
}

// A token has 8 to 128 of the characters that cannot write a signed message.
func TestTokens(t *testing.T) {
	const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for token, answered := range map[string]bool{
		strings.Repeat("x", 7):            false,
		strings.Repeat("x", 8):            true,
		strings.Repeat("x", 128):          true,
		strings.Repeat("x", 129):          false,
		all:                               true,
		"":                                false,
		"abcdefgh\n":                      false,
		"\nabcdefgh":                      false,
		"abcdefgh\nabcdefgh":              false,
		"abcdefgh\x20":                    false,
		"abcd:fgh":                        false,
		"abcd.fgh":                        false,
		"abcd+fgh":                        false,
		"abcd/fgh":                        false,
		"abcdefg=":                        false,
		"abcdefgh\x00":                    false,
		"abcdéfgh":                        false,
		"ａｂｃｄｅｆｇｈ":                        false,
		"abcdefg\u212a":                   false, // the sign for kelvin, which is a k when case is folded
		"\xffabcdefgh":                    false,
		"v0":                              false,
		"v0:":                             false,
		"v0:" + stamp(0) + ":":            false,
		"v0:" + stamp(0) + ":" + "{}":     false,
		"v0:" + stamp(0) + ":" + testBody: false,
	} {
		answer, ok, err := verified(t, challengeFor(token)).Challenge()
		if answered {
			if !ok || err != nil || !strings.Contains(string(answer), hmacHex(testSecret, token)) {
				t.Errorf("%q: %s, %v, %v", token, answer, ok, err)
			}
			continue
		}
		if answer != nil || !ok || !errors.Is(err, webhook.ErrChallenge) {
			t.Errorf("%q: %s, %v, %v", token, answer, ok, err)
			continue
		}
		silent(t, err, stamp(0), testBody)
	}
}

// A challenge that has no text as its token is refused; it is not handed on as an
// event.
func TestChallengesWithoutAToken(t *testing.T) {
	for _, payload := range []string{
		`null`, `{}`, `[]`, `"abcdefgh"`, `{"plainToken":null}`, `{"plainToken":12345678}`, `{"plainToken":["abcdefgh"]}`,
		`{"plainToken":{"plainToken":"abcdefgh"}}`, `{"plaintoken":"abcdefgh"}`,
		`{"plainToken":"abcdefgh","plainToken":null}`, `{"plainToken":"abcdefgh"},"payload":{}`, `{"plainToken":"abcdefgh"},"payload":null`,
	} {
		answer, ok, err := verified(t, `{"event":"endpoint.url_validation","payload":`+payload+`}`).Challenge()
		if answer != nil || !ok || !errors.Is(err, webhook.ErrChallenge) {
			t.Errorf("payload %s: %s, %v, %v", payload, answer, ok, err)
		}
	}
	if answer, ok, err := verified(t, `{"event":"endpoint.url_validation"}`).Challenge(); answer != nil || !ok || !errors.Is(err, webhook.ErrChallenge) {
		t.Errorf("no payload: %s, %v, %v", answer, ok, err)
	}
}

// The answer is the same function under the same key as the signature. Nobody, not
// even who can make the platform send a challenge of their choice, gets a receiver
// to sign a request for them.
func TestReceiverSignsNoForgedRequests(t *testing.T) {
	const forged = `{"event":"number_management.peering_number_cnam_updated","payload":{"object":{"cnam":"MALLORY"}}}`
	r := receiver(t)
	for _, timestamp := range []string{stamp(0), stamp(300e9), stamp(-300e9)} {
		message := "v0:" + timestamp + ":" + forged
		// What the attack is after would be accepted.
		if _, err := r.Verify(signed(testSecret, timestamp, forged), []byte(forged)); err != nil {
			t.Fatal(err)
		}
		for name, body := range map[string]string{
			"as it is": challengeFor(message),
			"escaped":  strings.ReplaceAll(challengeFor(message), "v0:", `\u0076\u0030\u003a`),
		} {
			answer, ok, err := verified(t, body).Challenge()
			if answer != nil || !ok || !errors.Is(err, webhook.ErrChallenge) {
				t.Errorf("%s: %s, %v, %v", name, answer, ok, err)
			}
			if err != nil {
				silent(t, err, timestamp, forged)
			}
		}
	}
}

// While a secret is being changed, the platform gets the answer for the secret that
// it uses.
func TestChallengeIsAnsweredWithTheSecretThatSigned(t *testing.T) {
	secrets := []string{nextSecret, testSecret}
	r := receiver(t, func(c *webhook.Config) { c.Secrets = secrets })
	body := challengeFor("qgg8vlvZRS6UYooatFL8Aw")
	for i, secret := range secrets {
		v, err := r.Verify(signed(secret, stamp(0), body), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, ok, err := v.Challenge()
		var got webhook.ChallengeAnswer
		if !ok || err != nil || json.Unmarshal(answer, &got) != nil || got.EncryptedToken != hmacHex(secret, "qgg8vlvZRS6UYooatFL8Aw") {
			t.Errorf("secret %d: %s, %v, %v", i, answer, ok, err)
		}
	}
}
