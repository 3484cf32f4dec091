package number

import "hash/maphash"

// seen remembers the numbers of a file and where each was first. It is a hash table with 12 bytes
// a place, which doubles when it is three quarters full: a million numbers take 24 MiB, and as
// many as there may be 48 MiB.
type seen struct {
	keys  []uint64 // 0: free
	lines []uint32
	count int
	seed  maphash.Seed
}

func newSeen() *seen {
	return &seen{keys: make([]uint64, 1<<12), lines: make([]uint32, 1<<12), seed: maphash.MakeSeed()}
}

// add remembers a number of a line. If it was there before, it returns in which line.
func (s *seen) add(e164 string, line int) (before int, known bool) {
	var key uint64
	for _, digit := range []byte(e164[1:]) {
		key = key*10 + uint64(digit-'0') // 15 digits fit, and the first is not 0
	}
	if s.count >= len(s.keys)/4*3 {
		s.grow()
	}
	at, known := s.find(key)
	if known {
		return int(s.lines[at]), true
	}
	s.keys[at], s.lines[at] = key, uint32(line)
	s.count++
	return 0, false
}

// find returns where a number is, or is to be put.
func (s *seen) find(key uint64) (at uint64, known bool) {
	mask := uint64(len(s.keys) - 1)
	for at = maphash.Comparable(s.seed, key) & mask; s.keys[at] != 0; at = (at + 1) & mask {
		if s.keys[at] == key {
			return at, true
		}
	}
	return at, false
}

func (s *seen) grow() {
	old := *s
	s.keys, s.lines = make([]uint64, 2*len(old.keys)), make([]uint32, 2*len(old.lines))
	for i, key := range old.keys {
		if key != 0 {
			at, _ := s.find(key)
			s.keys[at], s.lines[at] = key, old.lines[i]
		}
	}
}
