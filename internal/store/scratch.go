package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Scratch makes an empty schema in a database of PostgreSQL, for what is not to stay,
// and returns the URL that leads there, and a function that removes it.
func Scratch(ctx context.Context, database string) (scratch string, remove func(context.Context) error, err error) {
	u, err := url.Parse(database)
	if err != nil || !IsPostgres(database) {
		return "", nil, fmt.Errorf("store: %q is not a URL of PostgreSQL", database)
	}
	name := "switchhook_" + strings.ToLower(rand.Text())
	if err := execute(ctx, database, "CREATE SCHEMA "+name); err != nil {
		return "", nil, err
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String(), func(ctx context.Context) error { return execute(ctx, database, "DROP SCHEMA "+name+" CASCADE") }, nil
}

// execute runs one statement.
func execute(ctx context.Context, database, query string) error {
	c, err := pgconn.Connect(ctx, database)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = c.Exec(ctx, query).ReadAll()
	if err = errors.Join(err, c.Close(ctx)); err != nil {
		err = fmt.Errorf("store: %s: %w", query, err)
	}
	return err
}
