package forward

// Ahead remembers messages that a target has taken while one before them was not: they
// are given to it once more, and it need not take them twice. The zero value is ready.
type Ahead struct {
	taken map[*Message]bool
}

// Rest returns those of the messages that the target has not taken yet.
func (a *Ahead) Rest(messages []*Message) (rest []*Message) {
	for _, m := range messages {
		if !a.taken[m] {
			rest = append(rest, m)
		}
	}
	return rest
}

// Settle returns what Take has to: how many messages, beginning with the first, have
// been taken by now, and why the next one has not. Errs say what became of the rest.
func (a *Ahead) Settle(messages, rest []*Message, errs []error) (n int, err error) {
	if a.taken == nil {
		a.taken = map[*Message]bool{}
	}
	for i, m := range rest {
		if errs[i] == nil {
			a.taken[m] = true
		} else if err == nil {
			err = errs[i]
		}
	}
	for n < len(messages) && a.taken[messages[n]] {
		delete(a.taken, messages[n])
		n++
	}
	if n == len(messages) {
		err = nil
	}
	return n, err
}
