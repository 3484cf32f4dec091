package store

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// Every row of the webhook log is in one stream: that of its subscription, event type
// and part. The index attempts_log holds the streams one after another, each in the
// order in which its rows were recorded, so a page is merged from the ends of the
// streams that the filter selects, and no row is looked at that is not on it.
type stream struct {
	subscription, eventType, part int64
}

const (
	selectLogKeys = `SELECT key FROM subscriptions WHERE app_id = $1`

	// The next stream of a subscription, of the same event type or of a later one. A
	// comparison of both columns as one row would go through all rows of the type.
	selectPart = `SELECT part FROM attempts WHERE subscription = $1 AND type_id = $2 AND part > $3 ORDER BY part LIMIT 1`
	selectType = `SELECT type_id FROM attempts WHERE subscription = $1 AND type_id > $2 AND part IS NOT NULL ORDER BY type_id LIMIT 1`

	selectStreamEnd = `
		SELECT id FROM attempts
		WHERE subscription = $1 AND type_id = $2 AND part = $3 AND id >= $4 AND id < $5
		ORDER BY id DESC LIMIT $6`

	selectLogRow = selectAttempts + `WHERE id = $1`
)

// startedBefore is how much earlier than it was recorded a request may have started.
const startedBefore = 5 * time.Minute

// WebhookLog returns a page of an app's webhook log, the latest rows first, and
// whether there are more.
func (db *DB) WebhookLog(ctx context.Context, f hook.LogFilter) (page []hook.LogRow, more bool, err error) {
	err = db.sql.read(ctx, func(t tx) error {
		page, more = nil, false
		streams, err := db.streams(t, &f)
		if err != nil {
			return err
		}
		before := cmp.Or(f.Before, math.MaxInt64)
		if !f.To.IsZero() {
			// Rows are ordered by when they were recorded and bounded by when they were
			// started, which is a little earlier.
			before = min(before, hook.FirstID(f.To.Add(startedBefore)))
		}
		for {
			ids, err := latest(t, streams, hook.FirstID(f.From), before, f.Limit+1)
			if err != nil {
				return err
			}
			for _, id := range ids {
				r, err := db.logRow(t, selectEvent, id)
				switch {
				case err != nil:
					return err
				case r == nil || r.Started.Before(f.From) || !f.To.IsZero() && r.Started.After(f.To):
					continue
				case len(page) == f.Limit:
					more = true
					return nil
				}
				page = append(page, *r)
			}
			if len(ids) <= f.Limit {
				return nil
			}
			before = ids[len(ids)-1]
		}
	})
	return page, more, err
}

// streams returns the streams that the filter selects.
func (db *DB) streams(t tx, f *hook.LogFilter) (all []stream, err error) {
	var keys []int64
	if err := t.query(selectLogKeys, func(r row) error { keys = append(keys, r.int(0)); return nil }, f.App); err != nil {
		return nil, err
	}
	wanted := db.knownType(f.EventType)
	if f.EventType != "" && wanted == 0 {
		return nil, nil // nothing of that type was ever sent
	}
	for _, k := range keys {
		types := []int64{wanted}
		if wanted == 0 {
			if types, err = seek(t, selectType, -1, k); err != nil {
				return nil, err
			}
		}
		for _, eventType := range types {
			parts, err := seek(t, selectPart, -1, k, eventType)
			if err != nil {
				return nil, err
			}
			for _, p := range parts {
				retry, failed := p/2, p%2 == 1
				if (f.Retry == nil || int64(*f.Retry) == retry) && (f.Failed == nil || *f.Failed == failed) {
					all = append(all, stream{k, eventType, p})
				}
			}
		}
	}
	return all, nil
}

// seek returns the different values that a query finds, each by asking for the first
// one above the last.
func seek(t tx, query string, last int64, args ...any) (all []int64, err error) {
	for {
		n := len(all)
		err := t.query(query, func(r row) error { all = append(all, r.int(0)); return nil }, append(slices.Clone(args), last)...)
		if err != nil || len(all) == n {
			return all, err
		}
		last = all[n]
	}
}

// latest returns the latest rows of the streams with ids from first to before, the
// latest first, at most limit of them.
func latest(t tx, streams []stream, first, before int64, limit int) (ids []int64, err error) {
	for _, s := range streams {
		// What is earlier than the page's end is not asked for again.
		if len(ids) >= limit {
			slices.SortFunc(ids, later)
			ids = ids[:limit]
			first = max(first, ids[limit-1])
		}
		err := t.query(selectStreamEnd, func(r row) error { ids = append(ids, r.int(0)); return nil },
			s.subscription, s.eventType, s.part, first, before, limit)
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(ids, later)
	ids = slices.Compact(ids)
	return ids[:min(limit, len(ids))], nil
}

func later(a, b int64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

// logRow reads a row of the log with all that it tells, and what selectEvent selects of
// its event; nil if it is gone.
func (db *DB) logRow(t tx, selectEvent string, id int64) (*hook.LogRow, error) {
	var r *hook.LogRow
	err := t.query(selectLogRow, func(x row) error {
		r = &hook.LogRow{Attempt: scanAttempt(x)}
		r.EventType = db.typeName(x.int(16))
		return nil
	}, id)
	if err != nil || r == nil {
		return nil, err
	}
	return r, firstError(
		t.query(`SELECT id, app_id FROM subscriptions WHERE key = $1`, func(x row) error { r.SubscriptionID, r.App = x.text(0), x.text(1); return nil }, int64(r.Delivery.Subscription)),
		t.query(selectEvent+`WHERE id = $1`, func(x row) (err error) {
			r.Event, _, err = db.scanEvent(x)
			return err
		}, int64(r.Delivery.Event)),
	)
}
