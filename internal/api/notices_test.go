package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/switchhook/switchhook/internal/memnet"
	"github.com/switchhook/switchhook/internal/outbox"
)

// How notices look: one that is sent, one that is put off, one that was refused, one
// that nobody could get and one that is yet to be tried.
func TestNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlatform(t, options{idle: true, net: &memnet.Net{}})
		text := shown(p, "GET "+operator+"/notices")
		put := func(m outbox.Message) {
			t.Helper()
			m.Created = time.Now()
			must(t, p.db.PutMail(&m))
		}
		end := func(err error) {
			t.Helper()
			now := time.Now()
			m, claimErr := p.db.ClaimMail(now, now.Add(time.Minute))
			must(t, claimErr)
			must(t, p.db.RecordMail(m.After(err, now)))
		}
		disabled := outbox.Message{
			To: "owner@carrier.test", Subject: `"numbers" fails <2>`, Text: "It fails.\n\nhttps://carrier.test/hooks?a=b&c\n", HTML: "<p>It fails.</p>",
		}
		for _, err := range []error{nil, errors.New("451 greylisted"), refused{}} {
			put(disabled)
			end(err)
			time.Sleep(time.Second)
		}
		disabled.To = ""
		put(disabled)
		text += shown(p, "POST "+operator+`/notices/test {"to":"ann@example.com"}`)
		golden(t, "notices.golden", text+shown(p,
			"GET "+operator+"/notices", "GET "+operator+"/notices?limit=2", "GET "+operator+"/notices/3",
			"GET "+operator+"/notices/6", "GET "+operator+"/notices/test",
			"GET "+operator+"/notices?limit=0&page_size=1", "GET "+operator+"/notices?limit=301", "GET "+operator+"/notices?limit=x",
			"POST "+operator+"/notices/test {}", "POST "+operator+`/notices/test {"to":"ann@example.com\r\nBcc:eve@example.com"}`,
			"POST "+operator+`/notices/test {"to":"ann@example.com","subject":"x"}`))
	})
}

// refused says of itself that trying again would not help.
type refused struct{}

func (refused) Error() string   { return "550 no such user" }
func (refused) Permanent() bool { return true }

// A test mail wakes the mail sender and says who asked for it. What is refused is not
// put into the outbox.
func TestTestNotice(t *testing.T) {
	p := newPlatform(t, options{idle: true})
	p.want(http.StatusBadRequest, "POST", operator+"/notices/test", `{"to":"ann"}`)
	if n := p.mailer.Load(); n != 0 {
		t.Errorf("the mail sender was woken %d times for nothing", n)
	}
	put := read[Notice](t, p.want(http.StatusAccepted, "POST", operator+"/notices/test", `{"to":"ann@example.com"}`))
	if n := p.mailer.Load(); n != 1 {
		t.Errorf("the mail sender was woken %d times", n)
	}
	if put.State != outbox.Pending || !strings.Contains(put.Text, `operator key "tests" (key-all)`) {
		t.Errorf("the notice is %+v", put)
	}
	if got := get[Notice](p, fmt.Sprintf(operator+"/notices/%d", put.ID)); got != put {
		t.Errorf("it is\n%+v\nand was answered as\n%+v", got, put)
	}
	if list := get[struct{ Notices []Notice }](p, operator+"/notices").Notices; len(list) != 1 || list[0] != put {
		t.Errorf("the list is %+v", list)
	}
}

// Without a mail server the answer says at once that the mail is not sent.
func TestTestNoticeWithoutServer(t *testing.T) {
	p := newPlatform(t, options{idle: true, noMail: true})
	put := read[Notice](t, p.want(http.StatusAccepted, "POST", operator+"/notices/test", `{"to":"ann@example.com"}`))
	if put.State != outbox.Failed || put.Reason != outbox.NoServer {
		t.Errorf("the notice is %+v", put)
	}
}
