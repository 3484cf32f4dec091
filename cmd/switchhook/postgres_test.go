package main

import "testing"

// A password does not show, wherever it stands in the URL.
func TestPasswordsOfDatabases(t *testing.T) {
	for database, want := range map[string]string{
		"postgres://ann:secret@db.example.com/hooks":            "postgres://ann:xxxxx@db.example.com/hooks",
		"postgres://db.example.com/hooks?password=secret&x=y":   "postgres://db.example.com/hooks?password=xxxxx&x=y",
		"postgresql://ann:secret@a:1,b:2/hooks?sslmode=require": "postgresql://ann:xxxxx@a:1,b:2/hooks?sslmode=require",
		"sqlite:switchhook.db":                                  "sqlite:switchhook.db",
	} {
		if got := withoutPassword(database); got != want {
			t.Errorf("%s is shown as %s, want %s", database, got, want)
		}
	}
}
