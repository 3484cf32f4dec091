package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchhook/switchhook/internal/hook"
	"github.com/switchhook/switchhook/internal/store"
)

// keyPrefix begins every operator key, so that one that leaked is recognised.
const keyPrefix = "shk_"

func newKeys() *cobra.Command {
	create := withStore("create", "Make an operator key and print it, this once", cobra.NoArgs, createKey)
	create.Flags().String("name", "", "who or what the key is for")
	create.Flags().StringSlice("scope", []string{"read", "publish", "manage"}, "what it may do: read, publish, manage")
	return group("keys", "Make and revoke the operator keys of a platform, in its database",
		create,
		withStore("list", "List the keys", cobra.NoArgs, listKeys),
		withStore("revoke KEY_ID", "Make a key invalid, from now on and for ever", cobra.ExactArgs(1), func(_ *cobra.Command, db *store.DB, _ *output, args []string) error {
			now := time.Now()
			return db.RevokeKey(args[0], now, hook.AuditEntry{At: now, By: hook.Actor{Kind: hook.ByCommand}, Action: hook.Revoked, Kind: "operator_key", Subject: args[0]})
		}),
	)
}

// withStore is a command that works on the database itself, also while a platform
// serves from it.
func withStore(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, *store.DB, *output, []string) error) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{Use: use, Short: short, Args: usageArgs(args)}
	fl := cmd.Flags()
	f.databaseFlags(fl)
	o := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if err := configure(cmd, ""); err != nil {
			return err
		}
		log, err := newLog(cmd.ErrOrStderr(), "warn", "text")
		if err != nil {
			return err
		}
		notYet := fmt.Errorf("there is no database at %s; is --database right? A platform makes its database when it is first started: switchhook serve", withoutPassword(f.database))
		if file, ok := strings.CutPrefix(f.database, "sqlite:"); ok {
			if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
				return notYet
			}
		}
		key, err := f.key(log)
		if err != nil {
			return err
		}
		db, err := store.Open(cmd.Context(), store.Options{Database: f.database, Key: key, Existing: true, Log: log})
		if errors.Is(err, store.ErrEmpty) {
			return notYet
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		return run(cmd, db, o, args)
	}
	return cmd
}

type keyJSON struct {
	ID      string          `json:"key_id"`
	Name    string          `json:"name"`
	Scopes  []hook.KeyScope `json:"scopes"`
	Created time.Time       `json:"created_at"`
	Revoked *time.Time      `json:"revoked_at,omitempty"`
	Key     string          `json:"key,omitempty"`
}

func createKey(cmd *cobra.Command, db *store.DB, o *output, _ []string) error {
	k := &hook.OperatorKey{ID: hook.NewID(), Created: time.Now()}
	k.Name, _ = cmd.Flags().GetString("name")
	scopes, _ := cmd.Flags().GetStringSlice("scope")
	for _, s := range scopes {
		if !slices.Contains(hook.KeyScopes(), hook.KeyScope(s)) {
			return &usageError{fmt.Errorf("scope %q is none of read, publish, manage", s)}
		}
		k.Scopes = append(k.Scopes, hook.KeyScope(s))
	}
	secret := keyPrefix + hook.NewSecret()
	entry := hook.AuditEntry{
		At: k.Created, By: hook.Actor{Kind: hook.ByCommand}, Action: hook.Created, Kind: "operator_key", Subject: k.ID, Name: k.Name, Changes: []string{"scopes: " + strings.Join(scopes, " ")},
	}
	if err := db.CreateKey(k, hook.Secret(secret), entry); err != nil {
		return err
	}
	raw, err := json.Marshal(keyJSON{ID: k.ID, Name: k.Name, Scopes: k.Scopes, Created: k.Created, Key: secret})
	if err != nil {
		return err
	}
	return o.write(raw, "", func() error {
		fmt.Fprintf(cmd.ErrOrStderr(), "key %s, shown only now; set it as SWITCHHOOK_KEY:\n", k.ID)
		if k.Name == "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "it has no name; with --name, keys list and audit list say what or whose it is")
		}
		_, err := fmt.Fprintln(o.w, secret)
		return err
	})
}

func listKeys(cmd *cobra.Command, db *store.DB, o *output, _ []string) error {
	keys, err := db.Keys(cmd.Context())
	if err != nil {
		return err
	}
	list, rows := []keyJSON{}, [][]string{}
	for _, k := range keys {
		v := keyJSON{ID: k.ID, Name: k.Name, Scopes: k.Scopes, Created: k.Created}
		state := "valid"
		if !k.Revoked.IsZero() {
			v.Revoked = &k.Revoked
			state = "revoked " + k.Revoked.Local().Format(time.DateTime)
		}
		list = append(list, v)
		var scopes []string
		for _, s := range k.Scopes {
			scopes = append(scopes, string(s))
		}
		rows = append(rows, []string{k.ID, k.Name, strings.Join(scopes, ","), k.Created.Local().Format(time.DateTime), state})
	}
	raw, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		return err
	}
	return o.write(raw, "keys", func() error { return o.table("KEY ID|NAME|SCOPES|CREATED|STATE", rows) })
}
