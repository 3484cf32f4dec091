package tracing

import (
	"fmt"
	"testing"
)

// Of a URL, spans tell the host and nothing that may be secret.
func TestServer(t *testing.T) {
	for address, want := range map[string]string{
		"https://hooks.example.com/services/T0KEN?key=SECRET": "[{server.address hooks.example.com} {server.port 443}]",
		"http://user:SECRET@[::1]:8040/T0KEN":                 "[{server.address ::1} {server.port 8040}]",
		"https://[2001:db8::1]/":                              "[{server.address 2001:db8::1} {server.port 443}]",
		"https://%zz/":                                        "[]",
	} {
		var got []string
		for _, a := range server(address) {
			got = append(got, fmt.Sprintf("{%s %s}", a.Key, a.Value.String()))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", address, got, want)
		}
	}
}
