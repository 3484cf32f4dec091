package diagnose

import (
	"slices"
	"strings"

	"github.com/switchhook/switchhook/internal/canon"
)

// maxOrders is how many orders of keys are tried: those of an event of Number
// Management, with an address, are 103,680.
const maxOrders = 150_000

// value is JSON whose objects can be printed with their keys in any order.
type value struct {
	text    []byte   // of what has no parts
	keys    [][]byte // of an object, escaped and in quotation marks
	parts   []*value
	isArray bool
	shape   *shape // of an object
}

// shape is what objects with the same keys have in common: an order of them.
type shape struct{ order []int }

// otherOrder looks whether the signature is right with the keys in another order: many
// programs sort them when they print JSON.
func (s *search) otherOrder() *match {
	plain, err := canon.Append(nil, s.in.Body)
	if err != nil {
		return nil
	}
	shapes := map[string]*shape{}
	root := parse(plain, shapes)
	orders := 1
	var all []*shape
	for _, name := range sortedShapes(shapes) {
		sh := shapes[name]
		for n := 2; n <= len(sh.order); n++ {
			if orders *= n; orders > maxOrders {
				return nil
			}
		}
		all = append(all, sh)
	}
	if orders == 1 {
		return nil
	}
	return s.tryOrders(root, all)
}

func sortedShapes(shapes map[string]*shape) []string {
	names := make([]string, 0, len(shapes))
	for name := range shapes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *search) tryOrders(root *value, shapes []*shape) (m *match) {
	buf := make([]byte, 0, len(s.in.Body))
	var from func(i int) bool
	from = func(i int) bool {
		if i < len(shapes) {
			return permute(shapes[i].order, 0, func() bool { return from(i + 1) })
		}
		buf = root.append(buf[:0])
		for _, secret := range s.secrets {
			if secret.cause != "" && secret.cause != SecretTooShort {
				continue
			}
			digits := s.sign(secret, messages[0], s.timestamps[0].text, buf)
			if digits == "" {
				return true // enough
			}
			if f, ok := s.signed(digits); ok {
				m = &match{secret: secret, signature: f, timestamp: s.timestamps[0], body: bodyForm{text: slices.Clone(buf), causes: []Cause{KeyOrder}}}
				return true
			}
		}
		return false
	}
	from(0)
	return m
}

// permute calls f for every order of a, until f says that it is enough.
func permute(a []int, from int, f func() bool) bool {
	if from >= len(a)-1 {
		return f()
	}
	for i := from; i < len(a); i++ {
		a[from], a[i] = a[i], a[from]
		enough := permute(a, from+1, f)
		a[from], a[i] = a[i], a[from]
		if enough {
			return true
		}
	}
	return false
}

// parse reads canonical JSON.
func parse(text []byte, shapes map[string]*shape) *value {
	switch text[0] {
	case '{':
		v := &value{}
		for key, part := range canon.Members(text) {
			v.keys = append(v.keys, append(append([]byte{'"'}, key...), '"'))
			v.parts = append(v.parts, parse(part, shapes))
		}
		names := make([]string, len(v.keys))
		for i, k := range v.keys {
			names[i] = string(k)
		}
		name := strings.Join(names, ",")
		if shapes[name] == nil {
			sh := &shape{}
			for i := range v.keys {
				sh.order = append(sh.order, i)
			}
			shapes[name] = sh
		}
		v.shape = shapes[name]
		return v
	case '[':
		v := &value{isArray: true}
		for part := range canon.Items(text) {
			v.parts = append(v.parts, parse(part, shapes))
		}
		return v
	}
	return &value{text: text}
}

func (v *value) append(b []byte) []byte {
	switch {
	case v.isArray:
		b = append(b, '[')
		for i, p := range v.parts {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.append(b)
		}
		return append(b, ']')
	case v.shape != nil:
		b = append(b, '{')
		for n, i := range v.shape.order {
			if n > 0 {
				b = append(b, ',')
			}
			b = append(append(b, v.keys[i]...), ':')
			b = v.parts[i].append(b)
		}
		return append(b, '}')
	}
	return append(b, v.text...)
}
