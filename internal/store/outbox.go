package store

import (
	"context"
	"time"

	"github.com/switchhook/switchhook/internal/outbox"
)

// PutMail puts a new message into the outbox. A message about a change belongs into
// the change's transaction, by putMail.
func (db *DB) PutMail(m *outbox.Message) error {
	return db.sql.write(func(t tx) error { return putMail(t, m) }, nil)
}

// putMail puts a new message into the outbox, due as soon as the transaction is
// committed, and gives it its id. Recipient, subject, bodies and creation are taken as
// they are: a mail that cannot be sent is found out by the sender, for it must not
// prevent what it reports. The mail sender is to be woken after the commit.
func putMail(t tx, m *outbox.Message) error {
	m.State, m.Due = outbox.Pending, m.Created
	return t.query(`
		INSERT INTO outbox (recipient, subject, body_text, body_html, created, state, tries, due, claimed_until, ended, reason)
		VALUES ($1, $2, $3, $4, $5, 'pending', 0, $5, 0, 0, '')
		RETURNING id`,
		func(r row) error { m.ID = r.int(0); return nil },
		m.To, m.Subject, m.Text, m.HTML, millis(m.Created))
}

const (
	mailColumns = `id, recipient, subject, body_text, body_html, created, state, tries, due, claimed_until, ended, reason`

	// The inner condition is repeated outside, where a database that runs claims side
	// by side looks at the row again once it has it.
	claimMail = `
		UPDATE outbox SET claimed_until = $1
		WHERE id = (
			SELECT id FROM outbox
			WHERE state = 'pending' AND due <= $2 AND claimed_until <= $2
			ORDER BY due, id
			LIMIT 1
		) AND state = 'pending' AND claimed_until <= $2
		RETURNING ` + mailColumns
)

func scanMail(r row) *outbox.Message {
	return &outbox.Message{
		ID: r.int(0), To: r.text(1), Subject: r.text(2), Text: r.text(3), HTML: r.text(4), Created: fromMillis(r.int(5)),
		State: outbox.State(r.text(6)), Tries: int(r.int(7)), Due: fromMillis(r.int(8)), Claimed: fromMillis(r.int(9)),
		Ended: fromMillis(r.int(10)), Reason: r.text(11),
	}
}

// ClaimMail hands out, of the pending messages that are due at now and in nobody's
// hand, the one that has been due longest, to be in the caller's hand until the time
// given. It returns nil if there is none.
func (db *DB) ClaimMail(now, until time.Time) (m *outbox.Message, err error) {
	err = db.sql.write(func(t tx) error {
		return t.query(claimMail, func(r row) error { m = scanMail(r); return nil }, dueMillis(until), now.UnixMilli())
	}, nil)
	return m, err
}

// NextMail returns when the next pending message is both due and in nobody's hand:
// the zero time if none is pending.
func (db *DB) NextMail(ctx context.Context) (next time.Time, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT min(CASE WHEN claimed_until > due THEN claimed_until ELSE due END) FROM outbox WHERE state = 'pending'`,
			func(r row) error { next = fromMillis(r.int(0)); return nil })
	})
	return next, err
}

// RecordMail stores state, tries, due, end and reason of a message that was claimed,
// and gives it out of hand. If the claim has lapsed and somebody else has it now, only
// that it was sent is stored: that is true whoever says it, and prevents another copy.
func (db *DB) RecordMail(m outbox.Message) error {
	return db.sql.write(func(t tx) error {
		_, err := t.exec(`
			UPDATE outbox SET state = $1, tries = $2, due = $3, claimed_until = 0, ended = $4, reason = $5
			WHERE id = $6 AND (claimed_until = $7 OR $1 = 'sent')`,
			string(m.State), m.Tries, dueMillis(m.Due), millis(m.Ended), m.Reason, m.ID, dueMillis(m.Claimed))
		return err
	}, nil)
}

// Mails returns the latest messages, newest first, at most limit.
func (db *DB) Mails(ctx context.Context, limit int) (all []*outbox.Message, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT `+mailColumns+` FROM outbox ORDER BY id DESC LIMIT $1`, func(r row) error {
			all = append(all, scanMail(r))
			return nil
		}, limit)
	})
	return all, err
}
