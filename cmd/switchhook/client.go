package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/hook"
)

// client calls the API of a running platform.
type client struct {
	server, keyFile string
	known           string // the operator key, where it need not be found
	app             *appClient
	http            *http.Client
}

// addClient gives a command the flags that say which platform to call.
func addClient(cmd *cobra.Command) *client {
	c := &client{http: http.DefaultClient}
	fl := cmd.PersistentFlags()
	server := os.Getenv(envName("server"))
	if server == "" {
		server = "http://127.0.0.1:8040"
	}
	fl.StringVar(&c.server, "server", server, "URL of the platform (SWITCHHOOK_SERVER)")
	fl.StringVar(&c.keyFile, "key-file", os.Getenv(envName("key-file")), "file with the operator key; SWITCHHOOK_KEY holds the key itself")
	return c
}

// key finds the operator key, or obtains an access token if an app calls.
func (c *client) key(ctx context.Context) (string, error) {
	if c.app != nil {
		return c.app.accessToken(ctx, c)
	}
	if c.known != "" {
		return c.known, nil
	}
	if c.keyFile != "" {
		text, err := os.ReadFile(c.keyFile)
		key := strings.TrimSpace(string(text))
		if err == nil && key == "" {
			err = &usageError{fmt.Errorf("there is no operator key in %s", c.keyFile)}
		}
		return key, err
	}
	if key := os.Getenv(envName("key")); key != "" {
		return strings.TrimSpace(key), nil
	}
	return "", &usageError{errors.New("no operator key: set SWITCHHOOK_KEY or --key-file; make a key with: switchhook keys create")}
}

// request is a call of the API.
type request struct {
	method, path string
	query        url.Values
	header       map[string]string
	body         io.Reader
	size         int64 // of the body, if it cannot be told from it; 0: not known
}

// send makes a call and returns the answer, whatever its status.
func (c *client) send(ctx context.Context, r request) (*http.Response, error) {
	if parsed, err := url.Parse(c.server); err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
		return nil, &usageError{fmt.Errorf("--server %q is not a URL like http://127.0.0.1:8040", c.server)}
	}
	key, err := c.key(ctx)
	if err != nil {
		return nil, err
	}
	u := strings.TrimSuffix(c.server, "/") + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u, r.body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.size > 0 {
		req.ContentLength = r.size
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	return c.do(req)
}

// do sends a request, and says what to do if nobody answers.
func (c *client) do(req *http.Request) (*http.Response, error) {
	res, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("the platform at %s cannot be reached: %w; is it running, and is --server right?", c.server, err)
	}
	return res, nil
}

// appClient is the OAuth client of an app.
type appClient struct {
	id, secret string

	token string
	until time.Time
}

// accessToken returns an access token that is valid for a while.
func (a *appClient) accessToken(ctx context.Context, c *client) (string, error) {
	if time.Now().Before(a.until) {
		return a.token, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.server, "/")+"/oauth/token?grant_type=client_credentials", nil)
	if err != nil {
		return "", err
	}
	req.SetBasicAuth(a.id, a.secret)
	res, err := c.do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", err
	}
	var v struct {
		Token     string `json:"access_token"`
		ExpiresIn int    `json:"expires_in"`
		Reason    string `json:"reason"`
	}
	if err := json.Unmarshal(body, &v); err != nil || res.StatusCode != http.StatusOK || v.Token == "" {
		if v.Reason == "" {
			return "", &statusError{apiError(res.StatusCode, body), res.StatusCode}
		}
		return "", &statusError{fmt.Errorf("the platform gives app client %s no access token: %s", printable(a.id), printable(v.Reason)), res.StatusCode}
	}
	a.token, a.until = v.Token, time.Now().Add(time.Duration(v.ExpiresIn)*time.Second/2)
	return a.token, nil
}

// call makes a call and returns the body of its answer, or what the API says is
// wrong.
func (c *client) call(ctx context.Context, r request) ([]byte, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return body, apiError(res.StatusCode, body)
	}
	return body, nil
}

// apiError returns what the API says is wrong as an error.
func apiError(status int, body []byte) error {
	var f struct {
		Code    int         `json:"code"`
		Message string      `json:"message"`
		Errors  hook.Faults `json:"errors"`
	}
	if json.Unmarshal(body, &f) != nil || f.Message == "" {
		return notAPI(status, string(body))
	}
	e := &hook.Error{Detail: printable(f.Message)}
	if len(f.Errors) > 0 {
		e.Detail = strings.TrimSuffix(e.Detail, ".") // they follow
	}
	for _, x := range f.Errors {
		e.Faults.Add(printable(x.Field), "%s", printable(x.Message))
	}
	return e
}

// notAPI is an answer that no platform gives: something else listens at --server, or
// stands before the platform and cannot reach it.
func notAPI(status int, body string) error {
	said := ""
	if words := strings.Fields(body); len(words) > 0 {
		text := []rune(strings.Join(words, " "))
		said = fmt.Sprintf(" (%s)", printable(string(text[:min(len(text), 100)])))
	}
	if status >= http.StatusInternalServerError {
		return fmt.Errorf("the platform, or what stands before it, answered with status %d%s", status, said)
	}
	return fmt.Errorf("the answer has status %d and is no platform's%s; is --server right?", status, said)
}

func (c *client) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	return c.call(ctx, request{method: http.MethodGet, path: path, query: query})
}

func (c *client) post(ctx context.Context, path string, query url.Values, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, request{method: http.MethodPost, path: path, query: query, body: bytes.NewReader(raw)})
}

const operator = "/operator/v1"
