package mail

import (
	"bytes"
	"fmt"
	"net/mail"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// compose returns m as it goes over the wire. What is in it depends only on m and the
// settings, but for the line that separates the parts.
func compose(m *Message, from *mail.Address, installation string) ([]byte, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent()) // UTF-8 and quoted-printable by default
	msg.FromMailAddress(from)
	msg.ToMailAddress(&mail.Address{Address: m.To})
	// Where a header is folded, spaces are as good as one.
	msg.Subject(strings.Join(strings.Fields(m.Subject), " "))
	msg.SetDateWithValue(m.Created)
	msg.SetMessageIDWithValue(messageID(m.ID, from, installation))
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office replies, please
	msg.SetBodyString(gomail.TypeTextPlain, lineEnds.Replace(m.Text))
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, lineEnds.Replace(m.HTML))
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("mail: compose: %w", err)
	}
	return b.Bytes(), nil
}

// lineEnds makes all ends of lines the same: the encoder loses some if a carriage
// return stands alone.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// messageID is the same for every attempt, and different from that of any other
// mail, also of other installations that send from the same domain.
func messageID(id int64, from *mail.Address, installation string) string {
	_, domain, _ := strings.Cut(from.Address, "@")
	return fmt.Sprintf("%d.%s@%s", id, installation, domain)
}
