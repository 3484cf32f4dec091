package main

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

// listed reads the items that an answer of the API has under a name.
func listed[T any](raw []byte, name string) ([]T, error) {
	v, err := decode[map[string]json.RawMessage](raw)
	if err != nil {
		return nil, err
	}
	return decode[[]T](v[name])
}

// writeList writes a list: to programs as it came, to people as a table, with a row for
// each item.
func writeList[T any](o *output, raw []byte, name, head string, row func(*T) []string) error {
	return o.write(raw, name, func() error {
		items, err := listed[T](raw, name)
		if err != nil {
			return err
		}
		return o.table(head, rowsOf(items, row))
	})
}

func rowsOf[T any](items []T, row func(*T) []string) (rows [][]string) {
	for i := range items {
		rows = append(rows, row(&items[i]))
	}
	return rows
}

// showList gets a list and writes it.
func showList[T any](cmd *cobra.Command, c *client, o *output, path string, q url.Values, name, head string, row func(*T) []string) error {
	raw, err := c.get(cmd.Context(), operator+path, q)
	if err != nil {
		return err
	}
	return writeList(o, raw, name, head, row)
}

// pages gets a list page by page, as much of it as --limit says, and returns it as if it
// had come at once.
func pages(cmd *cobra.Command, c *client, o *output, path string, q url.Values, name string) ([]byte, error) {
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 1 {
		return nil, &usageError{errors.New("--limit must be 1 or more")}
	}
	const page = 300
	all := []json.RawMessage{}
	for len(all) < limit {
		q.Set("page_size", strconv.Itoa(min(page, limit-len(all))))
		raw, err := c.get(cmd.Context(), operator+path, q)
		if err != nil {
			return nil, err
		}
		v, err := decode[map[string]json.RawMessage](raw)
		if err != nil {
			return nil, err
		}
		items, err := decode[[]json.RawMessage](v[name])
		if err != nil {
			return nil, err
		}
		next, err := decode[string](v["next_page_token"])
		if err != nil {
			return nil, err
		}
		if all = append(all, items...); next == "" {
			break
		}
		q.Set("next_page_token", next)
		o.cut = len(all) >= limit
	}
	return json.Marshal(map[string]any{name: all})
}

// showPages gets as much of a list as --limit says, and writes it.
func showPages[T any](cmd *cobra.Command, c *client, o *output, path string, q url.Values, name, head string, row func(*T) []string) error {
	raw, err := pages(cmd, c, o, path, q, name)
	if err != nil {
		return err
	}
	return writeList(o, raw, name, head, row)
}
