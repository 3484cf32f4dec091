package capture

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// har is as much of HAR 1.2 as a request needs.
type har struct {
	Log struct {
		Entries []struct {
			Started string `json:"startedDateTime"`
			Request struct {
				Method  string `json:"method"`
				URL     string `json:"url"`
				Headers []struct {
					Name  string `json:"name"`
					Value string `json:"value"`
				} `json:"headers"`
				PostData *struct {
					Text     string `json:"text"`
					Encoding string `json:"encoding"` // of some tools, as the answers have it
				} `json:"postData"`
			} `json:"request"`
		} `json:"entries"`
	} `json:"log"`
}

// readHAR reads what browsers and proxies export. Of all that was recorded only the
// POST requests can be deliveries.
func readHAR(text []byte) ([]Request, error) {
	var doc har
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &doc); err != nil {
		return nil, fmt.Errorf("it is not a HAR file: %w", err)
	}
	var all []Request
	for i, e := range doc.Log.Entries {
		if e.Request.Method != http.MethodPost {
			continue
		}
		r := Request{Where: fmt.Sprintf("entry %d", i+1), Method: e.Request.Method, URL: e.Request.URL, Header: http.Header{}}
		for _, h := range e.Request.Headers {
			if h.Name != "" && h.Name[0] != ':' {
				r.Header.Add(h.Name, h.Value)
			}
		}
		r.Received, _ = time.Parse(time.RFC3339Nano, e.Started) // not known, if it is not one
		switch data := e.Request.PostData; {
		case data == nil:
			r.Notes = append(r.Notes, "the recording has no body for it")
		case data.Encoding == "base64":
			body, err := base64.StdEncoding.DecodeString(data.Text)
			if err != nil {
				return nil, fmt.Errorf("%s: the body is not base64: %w", r.Where, err)
			}
			r.Body = body
		default:
			r.Body = []byte(data.Text)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: the HAR file has %d entries, and none of them is a POST", errNone, len(doc.Log.Entries))
	}
	return all, nil
}
