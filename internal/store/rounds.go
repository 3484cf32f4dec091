package store

import (
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// roundTime is how long a round may take. Whoever has claimed one and has not ended it by
// then will not.
const roundTime = 2 * time.Minute

// The claim is for the round that follows the check of which the claimer knows. If there
// was another since, the round is over.
const claimRound = `
	INSERT INTO round_claims AS c (subscription, app_state, checked, node, until)
	SELECT subscription, app_state, checked, $1, $2 FROM endpoints WHERE subscription = $3 AND app_state = $4 AND checked = $5
	ON CONFLICT (subscription, app_state) DO UPDATE SET checked = excluded.checked, node = excluded.node, until = excluded.until
	WHERE c.checked <> excluded.checked OR c.node = excluded.node OR c.until <= $6 OR c.node NOT IN (SELECT id FROM nodes)`

// ClaimRound says whether the round of an endpoint that was last checked then is this
// process's to hold: it is one node's, unless that dies or takes far too long.
func (db *DB) ClaimRound(k hook.SubscriptionKey, in hook.AppState, checked time.Time) (own bool, err error) {
	p, ok := db.sql.(*postgresDB)
	if !ok {
		return true, nil // there is nobody else
	}
	err = p.writeNow(func(t tx) error {
		now, err := clock(t)
		if err != nil {
			return err
		}
		rows, err := t.exec(claimRound, p.node(), now+roundTime.Milliseconds(), int64(k), string(in), millis(checked), now)
		own = rows == 1
		return err
	})
	return own, err
}
