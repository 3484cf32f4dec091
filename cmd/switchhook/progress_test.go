package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A line of progress says as much as there is room for, the most important first.
func TestProgressLine(t *testing.T) {
	x := parts{" 43%", "430,000 lines", "12,345/s", "46s left"}
	for width, want := range map[int]string{
		0:   "43%  430,000 lines  12,345/s  46s left",
		120: " 43% [================>                       ] 430,000 lines  12,345/s  46s left",
		79:  " 43% [===========>                 ] 430,000 lines  12,345/s  46s left",
		60:  " 43% [===>      ] 430,000 lines  12,345/s  46s left",
		45:  "43%  430,000 lines  12,345/s  46s left",
		30:  "43%  430,000 lines  46s left",
		20:  "43%  430,000 lines",
		10:  "43%",
		2:   "",
	} {
		if got := fit(x, 0.43, width); got != want {
			t.Errorf("in %d columns:\n%q\nwant\n%q", width, got, want)
		}
	}
	if got, want := fit(parts{count: "7 lines", time: "3s"}, -1, 79), "7 lines  3s"; got != want {
		t.Errorf("of a size that is not known: %q, want %q", got, want)
	}
}

// Whatever it says, it never needs more than one line, in which the bar is as full as things
// are done.
func TestProgressLineFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z0-9,/ ]{0,30}`)
		x := parts{" 43%", text.Draw(t, "count"), text.Draw(t, "rate"), text.Draw(t, "time")}
		portion, width := rapid.Float64Range(0, 1).Draw(t, "portion"), rapid.IntRange(1, 200).Draw(t, "width")
		got := fit(x, portion, width)
		if len(got) > width || strings.ContainsAny(got, "\r\n") {
			t.Fatalf("%q has %d columns of %d", got, len(got), width)
		}
		if _, after, ok := strings.Cut(got, "["); ok {
			bar, _, _ := strings.Cut(after, "]")
			full := strings.Count(bar, "=") + strings.Count(bar, ">")
			if len(bar) < minBar || len(bar) > maxBar || full != int(portion*float64(len(bar))) {
				t.Fatalf("[%s] shows %v", bar, portion)
			}
		}
	})
}

// The bar is drawn over itself and taken away for messages. Its speed is that of the last
// seconds, and at the end that of all.
func TestProgressBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen strings.Builder
		p := newProgress(&screen, "line", "lines")
		p.columns, p.size = func() int { return 61 }, 1000
		p.begin(200, 20)
		for range 20 {
			time.Sleep(time.Second)
			p.set(p.now.done+10, p.now.count+1)
			p.draw()
		}
		for range 12 {
			time.Sleep(time.Second)
			p.set(p.now.done+50, p.now.count+5)
			p.draw()
		}
		p.say("a message")
		p.draw()
		p.end()
		got := strings.Split(screen.String(), "\r")
		for i, want := range map[int]string{
			1:  " 20% [=>        ] 20 lines\x1b[K",
			2:  " 21% [=>        ] 21 lines  1/s  1m19s left\x1b[K",
			21: " 40% [===>      ] 40 lines  1/s  1m00s left\x1b[K",
		} {
			if i >= len(got) || got[i] != want {
				t.Errorf("drawing %d is %q, want %q", i, got[i], want)
			}
		}
		const end = "\r100% [==========] 100 lines  5/s  0s left\x1b[K"
		if want := end + "\r\x1b[Ka message\n" + end + "\r\x1b[K100% [==========] 100 lines  2/s  in 32s\n"; !strings.HasSuffix(screen.String(), want) {
			t.Errorf("it ends with\n%q\nwant\n%q", screen.String(), want)
		}
	})
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", 60 * time.Second: "1m00s", 59*time.Minute + 59*time.Second: "59m59s", 61 * time.Minute: "1h01m", 30 * time.Hour: "30h00m",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
