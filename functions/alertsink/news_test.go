package alertsink

import (
	"testing"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/subject"
)

func TestALeafnodeIsNewsAndAClientIsNot(t *testing.T) {
	t.Parallel()
	const leafnode, client = `{"client":{"kind":"Leafnode","name":"site-b"}}`, `{"client":{"kind":"Client","name":"site-a/gateway"}}`
	for _, c := range []struct {
		what, subj, data string
		want             bool
	}{
		{"a leafnode that came", subject.Connected, leafnode, true},
		{"a leafnode that went", subject.Disconnected, leafnode, true},
		{"a client that came", subject.Connected, client, false},
		{"a client that went", subject.Disconnected, client, false},
		{"what cannot be read", subject.Connected, `?`, true},
		{"a link that is another", subject.Event("site-a", federation.LinkTransition), `{"kind":"link-transition"}`, true},
	} {
		if got := isNews(c.subj, []byte(c.data)); got != c.want {
			t.Errorf("%s: news %t", c.what, got)
		}
	}
}
