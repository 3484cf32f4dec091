package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/mail"
)

// smtpFlags are the settings of mails as people write them. The password is none of
// them: what is on the command line is seen by everybody on the machine.
type smtpFlags struct{ server, tls, username, passwordFile, from, ca string }

func (f *smtpFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.server, "smtp", "", "mail server that notices are sent through, as HOST or HOST:PORT (default: none; they are in the log and in 'switchhook notices' only)")
	fl.StringVar(&f.tls, "smtp-tls", string(mail.StartTLS), "starttls, implicit (port 465), or opportunistic, which sends without encryption if none is offered")
	fl.StringVar(&f.username, "smtp-username", "", "user name at the mail server; SWITCHHOOK_SMTP_PASSWORD holds the password")
	fl.StringVar(&f.passwordFile, "smtp-password-file", "", "file with the password instead")
	fl.StringVar(&f.from, "smtp-from", "", "address that mails come from, as in Switchhook <switchhook@example.com>")
	fl.StringVar(&f.ca, "smtp-ca", "", "file with certificate authorities in PEM form that may certify the mail server, beside the system's")
}

// config returns how mails are sent: nil if no mail server is named. Every error is a
// usage error of one line, without the password.
func (f *smtpFlags) config(fl *pflag.FlagSet) (*mail.Config, error) {
	c, err := f.read(fl)
	if err != nil {
		return nil, &usageError{err}
	}
	return c, nil
}

func (f *smtpFlags) read(fl *pflag.FlagSet) (*mail.Config, error) {
	if f.server == "" {
		return nil, f.alone(fl)
	}
	c := &mail.Config{TLS: mail.TLS(f.tls), Username: f.username, From: f.from}
	var err error
	if c.Host, c.Port, err = splitServer(f.server); err != nil {
		return nil, err
	}
	if c.Password, err = f.password(); err != nil {
		return nil, err
	}
	switch {
	case c.Username != "" && c.Password == "":
		return nil, errors.New("--smtp-username is set without a password: set SWITCHHOOK_SMTP_PASSWORD or --smtp-password-file")
	case c.Username == "" && c.Password != "":
		return nil, errors.New("a password for the mail server is set without --smtp-username")
	}
	if c.CAs, err = authorities(f.ca); err != nil {
		return nil, fmt.Errorf("--smtp-ca: %w", err)
	}
	if err = c.Check(); err == nil {
		return c, nil
	}
	e, ok := errors.AsType[*hook.Error](err)
	if !ok {
		return nil, err
	}
	var faults hook.Faults
	flags := map[string]string{"host": "smtp", "port": "smtp", "from": "smtp-from", "tls": "smtp-tls"}
	for _, x := range e.Faults {
		faults.Add("--"+cmp.Or(flags[x.Field], x.Field), "%s", x.Message)
	}
	return nil, errors.New(faults.Error())
}

// alone refuses settings of a mail server that is not named: somebody who makes them
// expects mails.
func (f *smtpFlags) alone(fl *pflag.FlagSet) (err error) {
	set := os.Getenv(envName("smtp-password")) != ""
	name := envName("smtp-password")
	fl.Visit(func(x *pflag.Flag) {
		if strings.HasPrefix(x.Name, "smtp-") && x.Value.String() != "" && x.Value.String() != x.DefValue && !set {
			set, name = true, "--"+x.Name
		}
	})
	if set {
		err = fmt.Errorf("%s is set without --smtp: name the mail server as HOST or HOST:PORT", name)
	}
	return err
}

// splitServer reads HOST or HOST:PORT. The port is 0 if there is none.
func splitServer(text string) (host string, port int, err error) {
	if strings.Contains(text, "@") { // and so, maybe, a password, which is not repeated
		return "", 0, errors.New("--smtp must be HOST or HOST:PORT; the user name goes into --smtp-username, the password into SWITCHHOOK_SMTP_PASSWORD or --smtp-password-file")
	}
	host = text
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		host = text[1 : len(text)-1]
	}
	if _, err := netip.ParseAddr(host); err == nil || !strings.ContainsAny(text, ":[]") {
		return host, 0, nil
	}
	host, digits, err := net.SplitHostPort(text)
	if err == nil {
		port, err = strconv.Atoi(digits)
	}
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("--smtp %q must be HOST or HOST:PORT, as in smtp.example.com:587", text)
	}
	return host, port, nil
}

// password finds the password in the environment or in the file that is named.
func (f *smtpFlags) password() (hook.Secret, error) {
	password := os.Getenv(envName("smtp-password"))
	if f.passwordFile != "" {
		if password != "" {
			return "", errors.New("SWITCHHOOK_SMTP_PASSWORD and --smtp-password-file are both set; take one of them out")
		}
		text, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return "", fmt.Errorf("--smtp-password-file: %w", err)
		}
		if password = strings.TrimRight(string(text), "\r\n"); password == "" {
			return "", fmt.Errorf("--smtp-password-file: there is no password in %s", f.passwordFile)
		}
	}
	if strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", errors.New("the password for the mail server has a line feed or another control character in it")
	}
	return hook.Secret(password), nil
}
