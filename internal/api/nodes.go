package api

import (
	"net/http"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
)

// Node is a process that delivers, as the API shows it.
type Node struct {
	ID      int64   `json:"id"`
	Slot    int     `json:"slot"`
	Host    string  `json:"host"`
	Version string  `json:"version"`
	Started Instant `json:"started_at"`
	// Seen is when it last said that it lives, and Until when others take over unless it
	// says so again.
	Seen  Instant `json:"seen_at"`
	Until Instant `json:"lease_until"`
	// Held is how many deliveries it has in hand, for so many lanes.
	Held  int `json:"deliveries_in_hand"`
	Lanes int `json:"lanes"`
}

func viewNode(n hook.Node) Node {
	return Node{n.ID, n.Slot, n.Host, n.Version, Instant(n.Started), Instant(n.Seen), Instant(n.Until), n.Deliveries, n.Lanes}
}

// nodes lists who delivers.
func (a *api) nodes(w http.ResponseWriter, r *http.Request) error {
	all, err := a.Store.Nodes(r.Context())
	if err != nil {
		return err
	}
	views := []Node{}
	for _, n := range all {
		if n.Until.IsZero() && n.ID == a.Sender.Current().ID {
			// It is alone, so it tells nobody that it lives.
			has := a.Sender.Holding()
			n.Seen, n.Deliveries, n.Lanes = time.Now(), has.Deliveries, has.Lanes
		}
		views = append(views, viewNode(n))
	}
	writeJSON(w, http.StatusOK, map[string]any{"nodes": views})
	return nil
}
