package alertsink

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/function"
)

func TestAllVersionsOfAnAlertAreInOneHalf(t *testing.T) {
	var used [2]int
	for i := range 100 {
		id := fmt.Sprint(i)
		in := partOf(version(id, 1, federation.High))
		used[in]++
		if later := partOf(version(id, 2, federation.Low)); later != in {
			t.Errorf("of %s version 1 is in half %d, and version 2 in %d", id, in, later)
		}
	}
	if used[0] < 10 || used[1] < 10 {
		t.Errorf("the halves have %v of 100 alerts", used)
	}
}

func TestWhatTwoHalvesSayIsSaidOfTheBatch(t *testing.T) {
	var p part
	for _, place := range []int{0, 3, 4} {
		p.add(place, version(fmt.Sprint(place), 1, federation.High))
	}
	broken := errors.New("the database is away")
	for name, c := range map[string]struct {
		a, b error
		want error
	}{
		"both are stored":              {nil, nil, nil},
		"one refuses some":             {p.refused(function.Refused{1: "not wanted"}), nil, function.Refused{3: "not wanted"}},
		"the other does":               {nil, p.refused(function.Refused{2: "not wanted"}), function.Refused{4: "not wanted"}},
		"both do":                      {p.refused(function.Refused{0: "a", 2: "b"}), function.Refused{1: "c"}, function.Refused{0: "a", 4: "b", 1: "c"}},
		"one fails":                    {broken, nil, broken},
		"one fails, the other refuses": {p.refused(broken), function.Refused{1: "c"}, broken},
		"one refuses, the other fails": {function.Refused{1: "c"}, broken, broken},
	} {
		t.Run(name, func(t *testing.T) {
			got := together(c.a, c.b)
			var some, want function.Refused
			if errors.As(c.want, &want) {
				if !errors.As(got, &some) || !maps.Equal(some, want) {
					t.Errorf("got %v (%T), want %v", got, got, want)
				}
			} else if !errors.Is(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
