package gateway_test

import (
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/functions/gateway"
)

func TestTheStyleGuideIsThereWhereItIsAskedForAlone(t *testing.T) {
	g := guard(t)
	if r := g.do(t, "GET", "/styleguide", ""); r.status != 404 || !strings.Contains(string(r.body), "CONSOLE_STYLEGUIDE") {
		t.Errorf("without the setting: %d %s", r.status, r.body)
	}
	g = guard(t, func(c *gateway.Config) { c.StyleGuide = true })
	if r := g.do(t, "GET", "/styleguide", ""); r.status != 200 || !strings.Contains(string(r.body), "in every state") {
		t.Errorf("with it: %d %s", r.status, r.body)
	}
}
