package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/switchhook/switchhook/internal/store"
)

func newStore() *cobra.Command {
	return group("store", "Move a platform from one database to another", newStoreCopy())
}

// storeCopy copies a platform.
type storeCopy struct {
	from, to, masterKeyFile string
	out                     *output
	show                    *progress
}

func newStoreCopy() *cobra.Command {
	c := &storeCopy{}
	cmd := &cobra.Command{
		Use:   "copy --from sqlite:FILE --to postgres://USER@HOST/DATABASE",
		Short: "Copy a platform from SQLite into an empty database of PostgreSQL",
		Long: `Copy a platform from SQLite into an empty database of PostgreSQL: what is configured,
numbers, events, what is outstanding, the webhook log and mails. Stop the platform first.

What has arrived is read again and compared with what was there, value by value. Until
all is there the target stays empty: after an interruption, whatever it was, the same
command begins anew. The source is not changed.`,
		Args: usageArgs(cobra.NoArgs),
	}
	c.flags(cmd.Flags())
	c.out = addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := configure(cmd, ""); err != nil {
			return err
		}
		c.show = newProgress(cmd.ErrOrStderr(), "row", "rows")
		return c.run(cmd)
	}
	return cmd
}

func (c *storeCopy) flags(fl *pflag.FlagSet) {
	fl.StringVar(&c.from, "from", "", "database of the platform: sqlite:FILE")
	fl.StringVar(&c.to, "to", "", "URL of an empty database of PostgreSQL, or of an empty schema in one (search_path)")
	fl.StringVar(&c.masterKeyFile, "master-key-file", "", "file with the key that the platform's secrets are sealed with (default: FILE.key beside the database); SWITCHHOOK_MASTER_KEY holds the key itself")
}

func (c *storeCopy) run(cmd *cobra.Command) error {
	switch file, ok := strings.CutPrefix(c.from, "sqlite:"); {
	case c.from == "" || c.to == "":
		return &usageError{fmt.Errorf("say --from where and --to where; see: %s --help", cmd.CommandPath())}
	case !ok || file == "":
		return &usageError{fmt.Errorf("--from %q must be of the form sqlite:FILE: platforms are copied from SQLite to PostgreSQL", withoutPassword(c.from))}
	case !store.IsPostgres(c.to):
		return &usageError{fmt.Errorf("--to %q must be of the form postgres://USER@HOST/DATABASE: platforms are copied from SQLite to PostgreSQL", c.to)}
	default:
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("there is no database at %s; is --from right?", c.from)
		}
	}
	log, err := newLog(cmd.ErrOrStderr(), "warn", "text")
	if err != nil {
		return err
	}
	f := serveFlags{database: c.from, masterKeyFile: c.masterKeyFile}
	key, err := f.key(log)
	if err != nil {
		return err
	}
	start := time.Now()
	var tables []store.CopiedTable
	ctx := cmd.Context()
	err = c.showing(func(far func(copied, checked, all int64)) (err error) {
		tables, err = store.Copy(ctx, store.Copying{From: c.from, To: c.to, Key: key, Far: far, Log: log})
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted: the target is as empty as before; the same command begins anew")
		}
		return err
	}
	return c.report(tables, time.Since(start))
}

// showing shows how far f is while it runs.
func (c *storeCopy) showing(f func(far func(copied, checked, all int64)) error) error {
	var copied, checked, all atomic.Int64
	done := make(chan error, 1)
	c.show.begin(0, 0)
	go func() {
		done <- f(func(now, too, of int64) { copied.Store(now); checked.Store(too); all.Store(of) })
	}()
	tick := time.NewTicker(c.show.every())
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			c.far(copied.Load(), checked.Load(), all.Load())
			if c.show.clear(); err == nil {
				c.show.end()
			}
			return err
		case <-tick.C:
			c.far(copied.Load(), checked.Load(), all.Load())
			c.show.draw()
		}
	}
}

// far says how far it is. Each row is copied, and then read again.
func (c *storeCopy) far(copied, checked, all int64) {
	c.show.size = 2 * all
	c.show.set(copied+checked, int(copied))
}

type copiedJSON struct {
	Table    string `json:"table"`
	Rows     int64  `json:"rows"`
	Checksum string `json:"checksum"`
}

func (c *storeCopy) report(tables []store.CopiedTable, took time.Duration) error {
	list, rows, sum := []copiedJSON{}, [][]string{}, int64(0)
	for _, t := range tables {
		list = append(list, copiedJSON(t))
		rows = append(rows, []string{t.Table, thousands(int(t.Rows)), t.Checksum})
		sum += t.Rows
	}
	raw, err := json.Marshal(map[string]any{"from": c.from, "to": withoutPassword(c.to), "tables": list, "rows": sum, "seconds": took.Seconds()})
	if err != nil {
		return err
	}
	err = c.out.write(raw, "tables", func() error { return c.out.table("TABLE|ROWS|CHECKSUM", rows) })
	if err != nil {
		return err
	}
	same := "the same SWITCHHOOK_MASTER_KEY"
	if os.Getenv(envName("master-key")) == "" {
		same = "--master-key-file " + cmp.Or(c.masterKeyFile, strings.TrimPrefix(c.from, "sqlite:")+".key")
	}
	c.show.say("All rows are there, with the same values.")
	c.show.say("Secrets are still sealed with the same key: serve from the new database with %s, and keep a copy of the key.", same)
	c.show.say("Do not serve from %s any more: it would deliver once more what is outstanding. Keep it until you are content with the new one.", printable(c.from))
	return nil
}
