package federation_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/auroramesh/auroramesh/shared/federation"
)

func ExampleLinkID() {
	fmt.Println(federation.LinkID("site-a", "site-b"))
	fmt.Println(federation.LinkID("site-b", "site-a"))
	// Output:
	// link-site-a-site-b
	// link-site-a-site-b
}

var siteID = rapid.Map(rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,62}`), func(s string) federation.SiteID { return federation.SiteID(s) })

func TestALinkIsTheSameFromBothEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := siteID.Draw(t, "a"), siteID.Draw(t, "b")
		there, back := federation.NewLink(a, b, noon), federation.NewLink(b, a, noon)
		if diff := cmp.Diff(there, back); diff != "" {
			t.Fatalf("from the other end it is another link:\n%s", diff)
		}
		if there.SiteA > there.SiteB {
			t.Fatalf("the sites of %s are not in order", there.ID)
		}
		if want := "link-" + string(min(a, b)) + "-" + string(max(a, b)); there.ID != want || there.ID != federation.LinkID(a, b) {
			t.Fatalf("the link is %s, want %s", there.ID, want)
		}
		if want := "link-" + string(max(a, b)) + "-" + string(min(a, b)); there.Reversed() != want {
			t.Fatalf("the other way round the link is %s, want %s", there.Reversed(), want)
		}
		if there.Peer(a) != b || there.Peer(b) != a {
			t.Fatalf("the peers at the ends of %s are %s and %s", there.ID, there.Peer(a), there.Peer(b))
		}
	})
}

func TestStatusFollowsFromTheAgeOfTheHeartbeat(t *testing.T) {
	for _, c := range []struct {
		name string
		age  time.Duration
		link federation.LinkStatus
		site federation.SiteStatus
	}{
		{"a heartbeat that has just come", 0, federation.Healthy, federation.Online},
		{"one from the future, by a clock set back", -time.Hour, federation.Healthy, federation.Online},
		{"just under the first threshold", 45*time.Second - 1, federation.Healthy, federation.Online},
		{"at the first threshold", 45 * time.Second, federation.LinkDegraded, federation.SiteDegraded},
		{"just under the second threshold", 120*time.Second - 1, federation.LinkDegraded, federation.SiteDegraded},
		{"at the second threshold", 120 * time.Second, federation.Down, federation.Offline},
		{"years ago", 100_000 * time.Hour, federation.Down, federation.Offline},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := contract.Link(c.age); got != c.link {
				t.Errorf("the link is %s, want %s", got, c.link)
			}
			if got := contract.Site(c.age); got != c.site {
				t.Errorf("the site is %s, want %s", got, c.site)
			}
			heard := noon.Add(-c.age)
			link := federation.NewLink("site-a", "site-b", heard).At(noon, contract)
			if link.Status != c.link {
				t.Errorf("the link at that moment is %s, want %s", link.Status, c.link)
			}
			if want := max(c.age, 0).Seconds(); link.HeartbeatAgeSeconds == nil || *link.HeartbeatAgeSeconds != want {
				t.Errorf("the age is %v, want %v", link.HeartbeatAgeSeconds, want)
			}
			if got := (federation.Site{Status: federation.Online, LastHeartbeatAt: &heard}).At(noon, contract); got.Status != c.site {
				t.Errorf("the site at that moment is %s, want %s", got.Status, c.site)
			}
		})
	}
}

func TestAStoredStatusIsNeverMadeBetterByReading(t *testing.T) {
	link := federation.NewLink("site-a", "site-b", noon)
	link.Status = federation.Down
	if got := link.At(noon, contract).Status; got != federation.Down {
		t.Errorf("a link that is down became %s", got)
	}
	if got := (federation.Site{Status: federation.SiteDegraded, LastHeartbeatAt: &noon}).At(noon, contract).Status; got != federation.SiteDegraded {
		t.Errorf("a degraded site became %s", got)
	}
}

func TestWithoutAHeartbeatALinkIsDownAndASiteOffline(t *testing.T) {
	link := (federation.Link{Status: federation.Healthy}).At(noon, contract)
	if link.Status != federation.Down || link.HeartbeatAgeSeconds != nil {
		t.Errorf("the link is %s with an age of %v", link.Status, link.HeartbeatAgeSeconds)
	}
	if got := (federation.Site{Status: federation.Online}).At(noon, contract).Status; got != federation.Offline {
		t.Errorf("the site is %s", got)
	}
}

func TestAnOlderHeartbeatNeverOverwritesANewerOne(t *testing.T) {
	const limit = 45 * time.Second
	for _, c := range []struct {
		name    string
		next    time.Time
		silence time.Duration
		want    bool
	}{
		{"a newer one is taken", noon.Add(time.Nanosecond), 0, true},
		{"the same again is not", noon, time.Second, false},
		{"an older one is not", noon.Add(-time.Second), time.Second, false},
		{"an older one just before the limit is not", noon.Add(-time.Hour), limit - 1, false},
		{"an older one after a long silence is: the clock was set back", noon.Add(-time.Hour), limit, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := federation.Supersedes(noon, c.next, c.silence, limit); got != c.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestALinkIsFoundByEitherId(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := federation.NewLink(siteID.Draw(t, "a"), siteID.Draw(t, "b"), noon)
		for _, id := range []string{l.ID, l.Reversed()} {
			if got, ok := federation.FindLink([]federation.Link{{ID: "link-x"}, l}, id); !ok || got.ID != l.ID {
				t.Fatalf("by %s is found %q", id, got.ID)
			}
			if !slices.Contains(federation.LinkIDs(id), l.ID) {
				t.Fatalf("%s is none of the links that %s may mean: %v", l.ID, id, federation.LinkIDs(id))
			}
		}
		if !federation.ReversedIDs(l.ID, l.Reversed()) || !federation.ReversedIDs(l.Reversed(), l.ID) {
			t.Fatalf("%s is not seen as %s reversed", l.Reversed(), l.ID)
		}
	})
	links := []federation.Link{federation.NewLink("a", "b-c", noon), federation.NewLink("b", "c-a", noon)}
	if l, _ := federation.FindLink(links, "link-b-c-a"); l.ID != "link-b-c-a" {
		t.Errorf("of two that may be meant the one of that very id goes first, not %s", l.ID)
	}
	for _, id := range []string{"", "link-", "link-x-y", "site-b-c-a", "link-c-a"} {
		if l, ok := federation.FindLink(links, id); ok || federation.ReversedIDs("link-a-b-c", id) {
			t.Errorf("%q finds %q", id, l.ID)
		}
	}
}
