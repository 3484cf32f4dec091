package store

import (
	"cmp"
	"context"
	"maps"
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
			rows, err := db.logRows(t, selectEvent, ids)
			if err != nil {
				return err
			}
			for _, r := range rows {
				switch {
				case r.Started.Before(f.From) || !f.To.IsZero() && r.Started.After(f.To):
					continue
				case len(page) == f.Limit:
					more = true
					return nil
				}
				page = append(page, r)
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

// logRows reads rows of the log, in this order, with all that they tell, and what
// selectEvent selects of their events. Those that are gone are left out. It asks for all
// of them at a time: the way to a server and back takes longer than finding a row.
func (db *DB) logRows(t tx, selectEvent string, ids []int64) ([]hook.LogRow, error) {
	found := map[int64]*hook.LogRow{}
	err := t.byID(selectAttempts, ids, func(x row) error {
		r := &hook.LogRow{Attempt: scanAttempt(x)}
		r.EventType = db.typeName(x.int(16))
		found[r.ID] = r
		return nil
	})
	if err != nil {
		return nil, err
	}
	subscriptions, events := map[int64]hook.LogRow{}, map[int64]*hook.Event{}
	for _, r := range found {
		subscriptions[int64(r.Delivery.Subscription)], events[int64(r.Delivery.Event)] = hook.LogRow{}, nil
	}
	keys := slices.Sorted(maps.Keys(subscriptions))
	err = t.each(`SELECT id, app_id FROM subscriptions WHERE key = $1`, len(keys), func(i int) []any { return []any{keys[i]} }, func(i int, x row) error {
		subscriptions[keys[i]] = hook.LogRow{SubscriptionID: x.text(0), App: x.text(1)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = t.byID(selectEvent, slices.Sorted(maps.Keys(events)), func(x row) error {
		e, _, err := db.scanEvent(x)
		if err == nil {
			events[int64(e.ID)] = e
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var rows []hook.LogRow
	for _, id := range ids {
		if r := found[id]; r != nil {
			s := subscriptions[int64(r.Delivery.Subscription)]
			r.SubscriptionID, r.App, r.Event = s.SubscriptionID, s.App, events[int64(r.Delivery.Event)]
			rows = append(rows, *r)
		}
	}
	return rows, nil
}
