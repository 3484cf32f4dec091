package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const mailPassword = "password-of-the-mail-server"

// Settings of the mail server that cannot work, or that somebody must have meant
// otherwise, are refused in one line that names the setting.
func TestMailSettings(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		return filepath.Join(dir, name)
	}
	password, empty, two := file("password", mailPassword), file("empty", "\n"), file("two", mailPassword+"\nand more\n")
	const from = "--smtp-from=hooks@example.com"
	for _, c := range []struct {
		name, env string // env is the password
		args      []string
		want      string
	}{
		{"no sender", "", []string{"--smtp", "smtp.test"}, `--smtp-from "" is not an e-mail address, as in Switchhook <switchhook@example.com>`},
		{"sender", "", []string{"--smtp", "smtp.test", "--smtp-from", "hooks"}, `--smtp-from "hooks" is not an e-mail address, as in Switchhook <switchhook@example.com>`},
		{"sender beyond ASCII", "", []string{"--smtp", "smtp.test", "--smtp-from", "hooks@zürich.test"}, `--smtp-from "hooks@zürich.test" has an address with other characters than ASCII; a domain can be written with xn--`},
		{"host", "", []string{"--smtp", "smtp test", from}, `--smtp "smtp test" is not the name of a host`},
		{"URL", "", []string{"--smtp", "smtp://smtp.test", from}, `--smtp "smtp://smtp.test" must be HOST or HOST:PORT, as in smtp.example.com:587`},
		{"port", "", []string{"--smtp", "smtp.test:70000", from}, `--smtp "smtp.test:70000" must be HOST or HOST:PORT, as in smtp.example.com:587`},
		{"user name with the host", "", []string{"--smtp", "bob:" + mailPassword + "@smtp.test", from},
			"--smtp must be HOST or HOST:PORT; the user name goes into --smtp-username, the password into SWITCHHOOK_SMTP_PASSWORD or --smtp-password-file"},
		{"TLS", "", []string{"--smtp", "smtp.test", from, "--smtp-tls", "ssl"}, `--smtp-tls "ssl" is none of starttls, implicit, opportunistic`},
		{"several", "", []string{"--smtp", "smtp.test", "--smtp-tls", "ssl"},
			`--smtp-tls "ssl" is none of starttls, implicit, opportunistic; --smtp-from "" is not an e-mail address, as in Switchhook <switchhook@example.com>`},
		{"no password", "", []string{"--smtp", "smtp.test", from, "--smtp-username", "bob"}, "--smtp-username is set without a password: set SWITCHHOOK_SMTP_PASSWORD or --smtp-password-file"},
		{"no user name", mailPassword, []string{"--smtp", "smtp.test", from}, "a password for the mail server is set without --smtp-username"},
		{"two passwords", mailPassword, []string{"--smtp", "smtp.test", from, "--smtp-username", "bob", "--smtp-password-file", password},
			"SWITCHHOOK_SMTP_PASSWORD and --smtp-password-file are both set; take one of them out"},
		{"no password file", "", []string{"--smtp", "smtp.test", from, "--smtp-username", "bob", "--smtp-password-file", "none"}, "--smtp-password-file: open none: no such file or directory"},
		{"empty password file", "", []string{"--smtp", "smtp.test", from, "--smtp-username", "bob", "--smtp-password-file", empty}, "--smtp-password-file: there is no password in " + empty},
		{"two lines in the password file", "", []string{"--smtp", "smtp.test", from, "--smtp-username", "bob", "--smtp-password-file", two},
			"the password for the mail server has a line feed or another control character in it"},
		{"no authorities", "", []string{"--smtp", "smtp.test", from, "--smtp-ca", password}, "--smtp-ca: " + password + ": no certificate in PEM form in it"},
		{"no server", "", []string{from}, "--smtp-from is set without --smtp: name the mail server as HOST or HOST:PORT"},
		{"no server, but a password", mailPassword, nil, "SWITCHHOOK_SMTP_PASSWORD is set without --smtp: name the mail server as HOST or HOST:PORT"},
		{"no server, but TLS", "", []string{"--smtp-tls", "implicit"}, "--smtp-tls is set without --smtp: name the mail server as HOST or HOST:PORT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SWITCHHOOK_SMTP_PASSWORD", c.env)
			var stdout, stderr strings.Builder
			args := append([]string{"serve", "--database", "sqlite:" + filepath.Join(dir, "test.db")}, c.args...)
			if code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != exitUsage || stderr.String() != "switchhook: "+c.want+"\n" || stdout.Len() > 0 {
				t.Errorf("exit code %d, stdout %q, stderr\n%swant\nswitchhook: %s", code, stdout.String(), stderr.String(), c.want)
			}
		})
	}
}

// A mail server is named by its host, or by host and port; an IPv6 address may be in
// brackets.
func TestMailServerName(t *testing.T) {
	for text, want := range map[string]struct {
		host string
		port int
	}{
		"smtp.test": {"smtp.test", 0}, "smtp.test:25": {"smtp.test", 25}, "localhost:65535": {"localhost", 65535}, "192.0.2.1": {"192.0.2.1", 0},
		"192.0.2.1:25": {"192.0.2.1", 25}, "2001:db8::1": {"2001:db8::1", 0}, "[2001:db8::1]": {"2001:db8::1", 0}, "[2001:db8::1]:25": {"2001:db8::1", 25},
	} {
		if host, port, err := splitServer(text); err != nil || host != want.host || port != want.port {
			t.Errorf("%s: %q, %d, %v", text, host, port, err)
		}
	}
	for _, text := range []string{"smtp.test:", "smtp.test:0", "smtp.test:-1", "smtp.test:smtp", "a:b:c", "[2001:db8::1", "[2001:db8::1]25", "2001:db8::1]:25", "[smtp.test"} {
		if host, port, err := splitServer(text); err == nil {
			t.Errorf("%s is taken as host %q and port %d", text, host, port)
		}
	}
}
