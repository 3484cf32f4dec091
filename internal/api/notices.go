package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/outbox"
)

// Notice is what somebody is told by mail, as the API shows it.
type Notice struct {
	ID      int64        `json:"id"`
	To      string       `json:"to"`
	Subject string       `json:"subject"`
	Text    string       `json:"text"`
	Created Instant      `json:"created_at"`
	State   outbox.State `json:"state"`
	Tries   int          `json:"tries"`
	Next    Instant      `json:"next_attempt_at"`
	Ended   Instant      `json:"ended_at"`
	Reason  string       `json:"reason,omitempty"`
}

func viewNotice(m *outbox.Message) Notice {
	return Notice{m.ID, m.To, m.Subject, m.Text, Instant(m.Created), m.State, m.Tries, Instant(m.Due), Instant(m.Ended), m.Reason}
}

// notices lists notices, the latest first.
func (a *api) notices(w http.ResponseWriter, r *http.Request) error {
	limit := defaultPage
	var faults hook.Faults
	q := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if name != "limit" {
			faults.Add(name, "is not known; known is limit")
		}
	}
	if text := q.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			faults.Add("limit", "must be 1 to %d", maxPage)
		}
	}
	if err := faults.Err("query"); err != nil {
		return err
	}
	all, err := a.Store.Mails(r.Context(), limit)
	if err != nil {
		return err
	}
	views := []Notice{}
	for _, m := range all {
		views = append(views, viewNotice(m))
	}
	writeJSON(w, http.StatusOK, map[string]any{"notices": views})
	return nil
}

func (a *api) notice(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return hook.Faults{{Field: "id", Message: fmt.Sprintf("%q is not the number of a notice", r.PathValue("id"))}}.Err("")
	}
	m, err := a.Store.Mail(r.Context(), id)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, viewNotice(m))
	return nil
}

// testNotice puts a mail into the outbox by which an operator sees whether mails
// arrive.
func (a *api) testNotice(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		To string `json:"to"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if err := outbox.CheckAddress(body.To); err != nil {
		return hook.Faults{{Field: "/to", Message: fmt.Sprintf("%q %v", body.To, err)}}.Err("body")
	}
	m := &outbox.Message{
		To: body.To, Subject: "A test mail from Switchhook", Created: time.Now(),
		Text: "This mail shows that Switchhook can send you mails.\n\nIt was asked for with " + actor(r).String() + ".\n",
	}
	if err := a.Store.PutMail(m, hook.AuditEntry{At: m.Created, By: actor(r), Action: hook.Created, Kind: "notice", Name: m.To}); err != nil {
		return err
	}
	a.Mailer.Wake()
	writeJSON(w, http.StatusAccepted, viewNotice(m))
	return nil
}
