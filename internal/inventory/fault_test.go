package inventory_test

import (
	"errors"

	"github.com/switchhook/switchhook/internal/intake"
	"github.com/switchhook/switchhook/internal/inventory"
)

var errFault = errors.New("a fault")

// fault is what goes wrong with a transaction.
type fault int

const (
	none      fault = iota
	within          // a statement fails
	atCommit        // all is written, and then the commit fails
	neighbour       // one that shares the commit fails, so it is done again
	answer          // it is durable, and the process dies before it can say so
)

// faulty is a store of which the next transaction goes wrong.
type faulty struct {
	inventory.Store
	next  fault
	after int // statements, for within
}

func (s *faulty) ChangeNumbers(rows int, f func(inventory.Tx) error) error {
	kind := s.next
	s.next = none
	switch kind {
	case within:
		return s.Store.ChangeNumbers(rows, func(tx inventory.Tx) error { return f(&faultyTx{tx, s.after}) })
	case neighbour:
		if err := s.fail(rows, f); !errors.Is(err, errFault) {
			return err
		}
	case atCommit:
		return s.fail(rows, f)
	case answer:
		if err := s.Store.ChangeNumbers(rows, f); err != nil {
			return err
		}
		return errFault
	}
	return s.Store.ChangeNumbers(rows, f)
}

// fail does all that f does and then fails.
func (s *faulty) fail(rows int, f func(inventory.Tx) error) error {
	return s.Store.ChangeNumbers(rows, func(tx inventory.Tx) error { return errors.Join(f(tx), errFault) })
}

// faultyTx fails after some statements that write.
type faultyTx struct {
	inventory.Tx
	left int
}

func (t *faultyTx) spend() error {
	if t.left--; t.left < 0 {
		return errFault
	}
	return nil
}

func (t *faultyTx) PutNumber(k *inventory.Kept) error {
	if err := t.spend(); err != nil {
		return err
	}
	return t.Tx.PutNumber(k)
}

func (t *faultyTx) RemoveNumber(e164 string) error {
	if err := t.spend(); err != nil {
		return err
	}
	return t.Tx.RemoveNumber(e164)
}

func (t *faultyTx) Publish(pubs []*intake.Publication) error {
	for i := range pubs {
		if err := t.spend(); err != nil {
			return errors.Join(t.Tx.Publish(pubs[:i]), err)
		}
	}
	return t.Tx.Publish(pubs)
}
