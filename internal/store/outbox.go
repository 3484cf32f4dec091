package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
)

// PutMail puts a new message into the outbox, and stores entries of the audit trail.
func (db *DB) PutMail(m *outbox.Message, entries ...hook.AuditEntry) error {
	mails := []*outbox.Message{m}
	err := db.sql.write(func(t tx) error { return firstError(putAudit(t, entries), db.putMails(t, mails)) }, nil)
	if err == nil {
		db.logUnsent(mails)
	}
	return err
}

// putMails puts the messages about a change into the outbox, in its transaction: they
// are there if and only if the change is made. The mail sender is to be woken then.
// What is not going to be sent is to be logged, so that nobody misses it.
func (db *DB) putMails(t tx, mails []*outbox.Message) error {
	for _, m := range mails {
		if err := db.putMail(t, m); err != nil {
			return err
		}
	}
	return nil
}

// putMail puts a new message into the outbox, as the outbox's rule has it, and gives
// it its id. Subject, bodies and creation are taken as they are: a mail that cannot be
// sent must not prevent what it reports, and is found out by the sender.
func (db *DB) putMail(t tx, m *outbox.Message) error {
	*m = m.Enter(db.mail)
	return t.query(`
		INSERT INTO outbox (recipient, subject, body_text, body_html, created, state, tries, due, claimed_until, ended, reason)
		VALUES ($1, $2, $3, $4, $5, $6, 0, $7, 0, $8, $9)
		RETURNING id`,
		func(r row) error { m.ID = r.int(0); return nil },
		m.To, m.Subject, m.Text, m.HTML, millis(m.Created), string(m.State), millis(m.Due), millis(m.Ended), m.Reason)
}

// logUnsent tells the log of the messages that ended without being sent.
func (db *DB) logUnsent(mails []*outbox.Message) {
	for _, m := range mails {
		if m.State == outbox.Failed {
			db.log.Warn("a notice is not sent as a mail", "mail", m.ID, "to", m.To, "subject", m.Subject, "text", m.Text, "reason", m.Reason)
		}
	}
}

// endMails ends what waits to be sent, now that nobody sends it any more.
func (db *DB) endMails(now time.Time) error {
	var ended []*outbox.Message
	err := db.sql.write(func(t tx) error {
		ended = nil
		return t.query(`
			UPDATE outbox SET state = 'failed', due = 0, claimed_until = 0, claimed_by = 0, ended = $1, reason = $2
			WHERE state = 'pending'
			RETURNING `+mailColumns,
			func(r row) error { ended = append(ended, scanMail(r)); return nil },
			millis(now), outbox.NoServer)
	}, nil)
	if err != nil {
		return err
	}
	slices.SortFunc(ended, func(a, b *outbox.Message) int { return cmp.Compare(a.ID, b.ID) })
	db.logUnsent(ended)
	return nil
}

const (
	mailColumns = `id, recipient, subject, body_text, body_html, created, state, tries, due, claimed_until, ended, reason`

	// The inner condition is repeated outside, where a database that runs claims side
	// by side looks at the row again once it has it.
	claimMail = `
		UPDATE outbox SET claimed_until = $1, claimed_by = $2
		WHERE id = (
			SELECT id FROM outbox
			WHERE state = 'pending' AND due <= $3 AND claimed_until <= $3
			ORDER BY due, id
			LIMIT 1
		) AND state = 'pending' AND claimed_until <= $3
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
		return t.query(claimMail, func(r row) error { m = scanMail(r); return nil }, dueMillis(until), db.sql.node(), now.UnixMilli())
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
			UPDATE outbox SET state = $1, tries = $2, due = $3, claimed_until = 0, claimed_by = 0, ended = $4, reason = $5
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

// Mail returns one message.
func (db *DB) Mail(ctx context.Context, id int64) (m *outbox.Message, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		return t.query(`SELECT `+mailColumns+` FROM outbox WHERE id = $1`, func(r row) error { m = scanMail(r); return nil }, id)
	})
	if err == nil && m == nil {
		err = &hook.Error{Kind: hook.NotFound, Subject: fmt.Sprintf("notice %d", id), Detail: "is not there; notices are kept as long as the webhook log"}
	}
	return m, err
}

// Installation returns a random text of letters and digits that is the database's own:
// made when it is first asked for, and from then on the same for everybody.
func (db *DB) Installation() (name string, err error) {
	err = db.sql.write(func(t tx) error {
		_, err := t.exec(`INSERT INTO settings (name, value) VALUES ('installation', $1) ON CONFLICT DO NOTHING`, []byte(strings.ToLower(rand.Text())))
		if err != nil {
			return err
		}
		return t.query(`SELECT value FROM settings WHERE name = 'installation'`, func(r row) error { name = string(r.blob(0)); return nil })
	}, nil)
	return name, err
}
