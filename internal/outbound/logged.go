package outbound

import (
	"strconv"
	"strings"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/webhook"
)

// LoggedHeader returns the header of a request that was made, as the webhook log shows
// it: made again from what the log has of it, with stars for whatever would let its
// reader act as the platform. That is also the signature, with which a request could be
// sent once more within five minutes.
func (c *Client) LoggedHeader(a *hook.Attempt, event hook.Trace, clientID string, body int) [][2]string {
	const stars = "********"
	h := [][2]string{
		{"User-Agent", c.UserAgent},
		{"Content-Type", webhook.ContentType},
		{"Content-Length", strconv.Itoa(body)},
		{"Accept-Encoding", "gzip"},
		{webhook.HeaderClientID, clientID},
		{webhook.HeaderTimestamp, strconv.FormatInt(a.Started.Unix(), 10)},
		{webhook.HeaderSignature, "v0=" + stars},
		{webhook.HeaderRequestID, a.Delivery.String()},
		{webhook.HeaderTrackingID, c.TrackingID(a.Delivery, a.Span)},
		{"Traceparent", a.Delivery.Trace(event, a.Span).String()},
	}
	switch a.Target.Auth {
	case hook.AuthBasic:
		h = append(h, [2]string{"Authorization", "Basic " + stars})
	case hook.AuthOAuth:
		h = append(h, [2]string{"Authorization", "Bearer " + stars})
	case hook.AuthHeader:
		h = append(h, [2]string{a.Target.Header, stars})
	}
	for i := range h {
		h[i][0] = strings.ToLower(h[i][0]) // as the contract writes them
	}
	return h
}
