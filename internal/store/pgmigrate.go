package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"
)

// migratePG brings the schema up to date, each step in a transaction of its own. A
// database of another program, or of a later version of this one, is refused before
// anything in it is changed.
func migratePG(ctx context.Context, s *session, existing bool, log *slog.Logger) error {
	alone := false
	err := s.query(ctx, `SELECT pg_try_advisory_lock($1)`, func(r row) error { alone = r.int(0) != 0; return nil }, int64(lockMigrate))
	if err == nil && !alone {
		log.Warn("somebody is making a platform in this database, or copying one into it; waiting until that is over")
		err = s.simple(ctx, fmt.Sprintf("SELECT pg_advisory_lock(%d)", lockMigrate))
	}
	if err != nil {
		return err
	}
	defer func() { _ = s.simple(ctx, fmt.Sprintf("SELECT pg_advisory_unlock(%d)", lockMigrate)) }() // or it is lost with the connection
	files, err := fs.Glob(migrations, "migrations/*.postgres.sql")
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, s, existing)
	if err != nil {
		return err
	}
	if latest := stepOf(files[len(files)-1]); version > latest {
		return fmt.Errorf("its schema has version %d, this program knows up to %d (%s): start the version of switchhook that wrote it, or a newer one",
			version, latest, path.Base(files[len(files)-1]))
	}
	for _, f := range files {
		step := stepOf(f)
		if step <= version {
			continue
		}
		text, err := fs.ReadFile(migrations, f)
		if err != nil {
			return err
		}
		if err := s.simple(ctx, fmt.Sprintf("BEGIN; %s; UPDATE switchhook_schema SET version = %d; COMMIT", text, step)); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", path.Base(f), err), s.simple(ctx, "ROLLBACK"))
		}
	}
	return nil
}

// stepOf returns the number in the name of a migration.
func stepOf(file string) int {
	number, _, _ := strings.Cut(path.Base(file), "_")
	n, err := strconv.Atoi(number)
	if err != nil {
		panic(err) // the files are ours
	}
	return n
}

func schemaVersion(ctx context.Context, s *session, existing bool) (version int, err error) {
	ours, others := false, ""
	err = s.query(ctx, `
		SELECT CAST(relname AS text) FROM pg_class
		WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relkind IN ('r', 'p')
		ORDER BY relname`, func(r row) error {
		if name := r.text(0); name == "switchhook_schema" {
			ours = true
		} else {
			others = name
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case ours:
		return version, s.query(ctx, `SELECT version FROM switchhook_schema`, func(r row) error { version = int(r.int(0)); return nil })
	case others != "":
		return 0, fmt.Errorf("the database has tables of another program, such as %q; give this one a database of its own, or a schema (search_path)", others)
	}
	if existing {
		return 0, ErrEmpty
	}
	return 0, s.simple(ctx, `BEGIN; CREATE TABLE switchhook_schema (version INTEGER NOT NULL); INSERT INTO switchhook_schema VALUES (0); COMMIT`)
}
