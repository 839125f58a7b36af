package console

import (
	"testing"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func TestARowOfWhatIsWrongIsNeverLeftOut(t *testing.T) {
	none, waiting := 0, 3
	all := make([]federation.Delivery, 2*tableRows)
	for i := range all {
		all[i] = federation.Delivery{Reachable: true, Pending: &none}
	}
	all[tableRows].Reachable = false
	all[tableRows+1].Pending = &waiting
	all[tableRows+2].Pending = nil
	all[tableRows+3].Reconciliation = &federation.Reconciliation{Lost: 1}
	rows, left := rowsOf(all, behind)
	if len(rows) != tableRows || left != tableRows {
		t.Fatalf("%d rows, and %d left out", len(rows), left)
	}
	for i, d := range rows {
		if behind(d) != (i < 4) {
			t.Errorf("row %d is %+v", i, d)
		}
	}
	if behind(all[tableRows-1]) || !behind(all[tableRows]) {
		t.Error("the rows were moved where they came from")
	}
	if rows, left := rowsOf(all[:tableRows], behind); len(rows) != tableRows || left != 0 {
		t.Errorf("where all have room: %d rows, and %d left out", len(rows), left)
	}
}
