package catalog

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func BenchmarkCheck(b *testing.B) {
	for _, size := range []struct {
		name    string
		numbers int
	}{{"380 bytes", 2}, {"600 bytes", 17}, {"200 numbers", 200}} {
		ty := NumberManagement().Types[1]
		list := `"phone_numbers":[` + strings.TrimSuffix(strings.Repeat(`"+14155550142",`, size.numbers), ",") + `]`
		body := []byte(strings.Replace(string(ty.Samples[0].Body), `"phone_numbers":["+14155550142","+14155550143"]`, list, 1))
		b.Run(size.name+"/fast", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if ty.Check(body) != nil {
					b.Fatal("does not fit")
				}
			}
		})
		b.Run(size.name+"/library", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if ty.check.validate(body) != nil {
					b.Fatal("does not fit")
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	read := func(name string) []byte {
		text, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		return text
	}
	for _, doc := range []struct {
		name string
		text []byte
	}{
		{"number management", numberManagementJSON},
		{"nasty", read("testdata/nasty.json")},
		{"YAML", read("testdata/orders.yaml")},
		{"200 event types", largeDocument(200)},
	} {
		b.Run(doc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(doc.text)))
			for b.Loop() {
				if _, err := Parse(doc.text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// largeDocument has many event types like those of the built-in document.
func largeDocument(types int) []byte {
	doc := fromTree(numberManagementJSON)
	hooks, all := doc.object("webhooks"), &object{}
	for i := range types {
		name := hooks.names[i%len(hooks.names)]
		text := strings.ReplaceAll(string(appendJSON(nil, hooks.get(name))), name, fmt.Sprintf("%s_%d", name, i))
		all.set(fmt.Sprintf("%s_%d", name, i), fromTree([]byte(text)))
	}
	doc.set("webhooks", all)
	return appendJSON(nil, doc)
}

func fromTree(text []byte) *object {
	v, err := readJSON(text, nil)
	if err != nil {
		panic(err)
	}
	return v.(*object)
}
