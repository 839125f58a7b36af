package natstest

import (
	"testing"

	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

// Line is a line to a listener at host:port, which can be cut, until the test ends.
func Line(t testing.TB, to string) *linkproxy.Proxy {
	t.Helper()
	p, err := linkproxy.Listen("127.0.0.1:0", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}
