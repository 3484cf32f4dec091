// Package mail sends the e-mails that are in the outbox.
//
// A [Sender] takes out what is due, hands it to an SMTP server and records how that
// ended. All it must remember is in the store.
//
// A mail is recorded as sent as soon as the server has taken it. A process that dies
// between the two leaves a mail that is sent once more: with the same Message-ID, by
// which mail programs know a copy.
package mail

import "github.com/switchhook/switchhook/internal/outbox"

// Message is a mail in the outbox.
type Message = outbox.Message

// State is what has become of a message.
type State = outbox.State

// The states of messages.
const (
	Pending = outbox.Pending
	Sent    = outbox.Sent
	Failed  = outbox.Failed
)
