package manage_test

import (
	"testing"

	"github.com/switchhook/switchhook/internal/hook"
)

// A change for which one of two endpoints does not prove itself changes neither, and
// that is what is on record of both.
func TestRecordOfAFailedChange(t *testing.T) {
	const devURL = "https://dev.customer.example/hook"
	w := newWorld(t)
	m := manifest()
	w.apply(m)
	s := w.subscription("own")
	must(t, w.Disable(operator, s.ID, "disabled by the operator"))
	m.Apps[1].Subscriptions[1].Development = devURL
	w.prober.breaks(devURL, "the connection was refused")
	w.apply(m)
	if got := w.subscription("own"); got.State != hook.Disabled || got.Development.URL != "" {
		t.Fatalf("it is %+v", got)
	}
	made, err := w.db.Validations(t.Context(), s.Key, 2)
	must(t, err)
	for i, want := range []hook.Validation{
		{In: hook.Development, URL: devURL, Reason: "the connection was refused", State: hook.Pending},
		{In: hook.Production, URL: ownURL, State: hook.Disabled},
	} {
		got := made[i]
		if got.In != want.In || got.URL != want.URL || got.Reason != want.Reason || got.State != want.State || got.Occasion != hook.OnChange {
			t.Errorf("on record is %+v, want %+v", got, want)
		}
	}
}
