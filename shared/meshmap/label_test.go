package meshmap_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/meshmap"
)

func TestNothingIsWrittenOverAnythingElse(t *testing.T) {
	for n := 3; n <= 13; n++ {
		t.Run(fmt.Sprint(n, " sites"), func(t *testing.T) {
			topology := mesh(n)
			before := meshmap.New(topology)
			for i := range topology.Links {
				topology.Links[i].Status, topology.Links[i].Cause = federation.LinkDegraded, federation.DeliveryStalled // of the longest name
			}
			m := meshmap.New(topology)
			place := func(m meshmap.Map, id string) (x, y float64) {
				for _, e := range m.Edges {
					if e.ID == id {
						return e.X1 + (e.X2-e.X1)*e.At, e.Y1 + (e.Y2-e.Y1)*e.At
					}
				}
				return 0, 0
			}
			const width, height = 23*7.7 + 16, 3*17 + 8
			for i, a := range m.Edges {
				x, y := place(m, a.ID)
				if wasX, wasY := place(before, a.ID); wasX != x || wasY != y {
					t.Errorf("the label of %s moved", a.ID)
				}
				for _, b := range m.Edges[i+1:] {
					if x2, y2 := place(m, b.ID); n > 3 && math.Abs(x-x2) < width && math.Abs(y-y2) < height {
						t.Errorf("%s and %s are written over each other", a.ID, b.ID)
					}
				}
				for _, s := range m.Nodes {
					if n > 3 && math.Abs(x-s.X) < (width+176)/2 && math.Abs(y-s.Y) < (height+94)/2 {
						t.Errorf("%s is written over %s", a.ID, s.ID)
					}
				}
			}
		})
	}
}
