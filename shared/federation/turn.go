package federation

import (
	"hash/fnv"
	"time"
)

// Turn numbers the times of a length that follow each other, all of them shifted. What is
// to be done once in each is due where the turn is another than when it was last done, so
// nobody has to remember more than that.
func Turn(at time.Time, every, shift time.Duration) int64 {
	return (at.UnixNano() + int64(shift)) / int64(every)
}

// Shift is some moment within a length of time, another for each pair of sites, so that what
// each site does once in that time for each peer is spread over it.
func Shift(own, peer SiteID, every time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(own + "/" + peer)) // it never fails
	return time.Duration(h.Sum64() % uint64(every))
}
