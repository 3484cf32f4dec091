package hook

import (
	"testing"
	"time"
)

// A client secret is one of the app's, or the one before while that is valid; and
// an app that has none has none.
func TestClientSecrets(t *testing.T) {
	now := time.Now()
	a := &App{ClientSecret: HashSecret("new"), OldClientSecret: OldClientSecret{HashSecret("old"), now.Add(time.Minute)}}
	for text, want := range map[Secret][2]bool{"new": {true, true}, "old": {true, false}, "other": {}, "": {}} {
		if a.Accepts(HashSecret(text), now) != want[0] || a.Accepts(HashSecret(text), now.Add(time.Minute)) != want[1] {
			t.Errorf("%q is not judged as it should be", text.Reveal())
		}
	}
	if none := (&App{}); none.Accepts(SecretHash{}, now) || none.Accepts(HashSecret(""), now) {
		t.Error("an app without a secret accepts one")
	}
}

// Clients are found by their ids, as long as their app is there.
func TestDirectoryKnowsClients(t *testing.T) {
	d := NewDirectory()
	d.Apply(Change{Accounts: []*Account{{ID: "a"}, {ID: "b"}, {ID: "c"}}, Apps: []*App{{ID: "app", Account: "a", ClientID: "one"}},
		Installations: []Installation{{App: "app", Account: "b"}, {App: "app", Account: "c", User: "u"}}})
	if x := d.Client("one"); x == nil || x.ID != "app" || d.Client("two") != nil || d.Client("") != nil {
		t.Error("it does not")
	}
	for account, want := range map[string]bool{"a": true, "b": true, "c": false, "none": false} {
		if d.Authorized("app", account) != want {
			t.Errorf("authorized for %s is not %v", account, want)
		}
	}
	d.Apply(Change{Apps: []*App{{ID: "app", Account: "a", ClientID: "two"}}})
	if d.Client("one") != nil || d.Client("two") == nil {
		t.Error("a changed id is not followed")
	}
	d.Apply(Change{RemoveApps: []string{"app"}})
	if d.Client("two") != nil || d.Authorized("app", "a") {
		t.Error("a deleted app is found")
	}
}
