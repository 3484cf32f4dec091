-- E-mails to be sent, and those that were sent or given up.
CREATE TABLE outbox (
	id            INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: it is in the Message-ID
	recipient     TEXT NOT NULL,
	subject       TEXT NOT NULL,
	body_text     TEXT NOT NULL,
	body_html     TEXT NOT NULL,
	created       INTEGER NOT NULL,
	state         TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'failed')),
	tries         INTEGER NOT NULL,
	due           INTEGER NOT NULL, -- 0 unless pending
	claimed_until INTEGER NOT NULL, -- a sender has it in hand until then; 0 for nobody
	ended         INTEGER NOT NULL,
	reason        TEXT NOT NULL     -- how the last attempt ended
) STRICT;

-- What is to be sent: few rows, unless the mail server is down.
CREATE INDEX outbox_due ON outbox (due) WHERE state = 'pending';
