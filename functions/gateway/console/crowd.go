package console

import (
	"slices"

	"github.com/auroramesh/auroramesh/shared/federation"
)

// What a page shows of a mesh that is larger than anybody looks through, so that a browser
// is not busy with it. What is wrong is shown first; the API and the command have all.
const (
	mapSites    = 300
	matrixSites = 60
	tableRows   = 500
)

// rowsOf is at most tableRows of all, those that are wrong before the others, and how many are left out.
func rowsOf[T any](all []T, wrong func(T) bool) (rows []T, left int) {
	if len(all) <= tableRows {
		return all, 0
	}
	rows = slices.Clone(all)
	slices.SortStableFunc(rows, func(a, b T) int {
		switch x, y := wrong(a), wrong(b); {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	})
	return rows[:tableRows], len(all) - tableRows
}

// behind reports whether a delivery is one to look at.
func behind(d federation.Delivery) bool {
	r := d.Reconciliation
	return !d.Reachable || d.Pending == nil || *d.Pending > 0 || r != nil && r.Lost+r.Duplicated > 0
}
