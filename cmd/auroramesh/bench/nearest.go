package bench

import (
	"slices"
	"strings"
)

// suggestion asks whether somebody who named what there is not meant what there is.
func suggestion(name string, of []Workload) string {
	names, groups := nameable(of)
	near := nearest(strings.ToLower(name), append(groups, names...))
	if len(near) == 0 {
		return "there are "
	}
	return "did you mean " + strings.Join(near, " or ") + "? There are "
}

// nearest are the names, at most three, that somebody may have meant who wrote another: those
// that begin with it, else those that the fewest changes of a letter make of it.
func nearest(name string, of []string) []string {
	var found []string
	fewest := len(name)/3 + 1
	for _, n := range of {
		changes := distance(name, n)
		if strings.HasPrefix(n, name) {
			changes = 0
		}
		if changes < fewest {
			found, fewest = nil, changes
		}
		if changes == fewest {
			found = append(found, n)
		}
	}
	return found[:min(len(found), 3)]
}

// distance is how many letters must be put in, taken out or changed to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // from the first i letters of a to the first j of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := slices.Clone(row)
		row[0] = i + 1
		for j := range len(b) {
			change := before[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, before[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
