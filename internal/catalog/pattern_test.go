package catalog

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A row matches what the expression matches.
func TestRowIsTheExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{
			"a", "ab", "\\+", "[a-c]", "[0-9]", "[1-9]", "\\d", "[^a]", ".", "a*", "[0-9]+", "[a-z]?", "[0-9]{2}", "[b-d]{1,3}", "\\s*", "[x]{2,}", "(?:a)", "(b)", "a|b", "(?i:a)", "é", "\\w{0,2}",
		}), 1, 4).Draw(t, "parts")
		expr := strings.Join(parts, "")
		if rapid.IntRange(0, 9).Draw(t, "whole") > 0 {
			expr = "^" + expr + "$"
		}
		compiled, err := compilePattern(expr)
		if err != nil {
			t.Fatal(err)
		}
		p := compiled.(*pattern)
		s := rapid.StringOfN(rapid.SampledFrom([]rune("ab+c019x \n")), 0, 8, -1).Draw(t, "string")
		if got, want := p.match([]byte(s), true), p.MatchString(s); got != want {
			t.Fatalf("matching %q with %s is %t, want %t", s, expr, got, want)
		}
	})
}

// The patterns that identifiers have are rows.
func TestRows(t *testing.T) {
	for expr, want := range map[string]bool{
		`^\+[1-9][0-9]{1,14}$`:      true,
		`^[A-Z]{2}$`:                true,
		`^[a-z]+_[0-9]+$`:           true,
		`^.{1,64}$`:                 true,
		`^[0-9a-f]{8}-[0-9a-f]{4}$`: true,
		`^[a-z]+[a-z0-9]$`:          false, // the last may have been taken already
		`^[a-z]*[0-9]?$`:            false, // would be one, but for the sake of a simple rule
		`^[a-z]*[0-9]?[a-z]$`:       false,
		`^(a|b)c$`:                  false,
		`^(?i)abc$`:                 false,
		`^(ab)+$`:                   false,
		`[a-z]+`:                    false,
		`^$`:                        false,
	} {
		p, err := compilePattern(expr)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.(*pattern).row != nil; got != want {
			t.Errorf("%s is a row is %t, want %t", expr, got, want)
		}
	}
}

// Patterns are refused that JavaScript has and package regexp has not, and those
// that would fill the memory.
func TestPatternsRefused(t *testing.T) {
	for _, expr := range []string{`^(?=a)`, `(a)\1`, `[a`, `a{2,1}`, `(a{1000}){3}`, `((a{1,100}){1,100}){1,10}`} {
		if _, err := compilePattern(expr); err == nil {
			t.Errorf("%s is compiled", expr)
		}
	}
	for _, expr := range []string{`^.{0,1000}$`, `^[\w.-]{1,255}@[a-z]+$`, ``} {
		if _, err := compilePattern(expr); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
}

func BenchmarkPattern(b *testing.B) {
	compiled, err := compilePattern(`^\+[1-9][0-9]{1,14}$`)
	if err != nil {
		b.Fatal(err)
	}
	p, number := compiled.(*pattern), []byte("+14155550142")
	b.Run("row", func(b *testing.B) {
		for b.Loop() {
			p.match(number, true)
		}
	})
	b.Run("regexp", func(b *testing.B) {
		for b.Loop() {
			p.Match(number)
		}
	})
}
