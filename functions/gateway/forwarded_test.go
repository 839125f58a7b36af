package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/access"
)

func proxies(networks ...string) func(*gateway.Config) {
	return func(c *gateway.Config) {
		for _, n := range networks {
			c.Proxies = append(c.Proxies, netip.MustParsePrefix(n))
		}
	}
}

func TestWhereARequestComesFromIsBelievedOfTrustedProxiesAlone(t *testing.T) {
	cases := []struct {
		name      string
		proxies   []string
		forwarded []string // a header each
		want      string
	}{
		{"nobody is trusted", nil, []string{"203.0.113.9"}, "127.0.0.1"},
		{"another is trusted", []string{"10.0.0.0/8"}, []string{"203.0.113.9"}, "127.0.0.1"},
		{"a proxy", []string{"127.0.0.0/8"}, []string{"203.0.113.9"}, "203.0.113.9"},
		{"a proxy that says nothing", []string{"127.0.0.0/8"}, nil, "127.0.0.1"},
		{"what the client made up", []string{"127.0.0.0/8"}, []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		{"what the client made up, in a header of its own", []string{"127.0.0.0/8"}, []string{"198.51.100.1", "203.0.113.9"}, "203.0.113.9"},
		{"two proxies", []string{"127.0.0.0/8", "10.0.0.0/8"}, []string{"198.51.100.1, 203.0.113.9, 10.1.2.3"}, "203.0.113.9"},
		{"from a proxy itself", []string{"127.0.0.0/8", "10.0.0.0/8"}, []string{"10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
		{"no address", []string{"127.0.0.0/8", "10.0.0.0/8"}, []string{"198.51.100.1, <script>, 10.1.2.3"}, "10.1.2.3"},
		{"with a port", []string{"127.0.0.0/8"}, []string{"203.0.113.9:4711"}, "203.0.113.9"},
		{"IPv6", []string{"127.0.0.0/8"}, []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv6 with a port, and text for a zone", []string{"127.0.0.0/8"}, []string{"[fe80::7%<b>]:4711"}, "fe80::7"},
		{"IPv4 as IPv6", []string{"127.0.0.0/8"}, []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := guard(t, proxies(c.proxies...))
			headers := []string{"X-API-Key", g.key(t, access.AlertsWrite)}
			for _, f := range c.forwarded {
				headers = append(headers, "X-Forwarded-For", f)
			}
			if r := g.do(t, "POST", "/api/v1/alerts", `{"title":"t","severity":"high","source":"test"}`, headers...); r.status != 201 {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if got := g.noted[0].From; got != c.want {
				t.Errorf("the audit log has it from %q, want %q", got, c.want)
			}
		})
	}
}

func TestNobodyHasMoreTriesByAMadeUpAddress(t *testing.T) {
	g := guard(t, proxies("127.0.0.1/32"))
	try := func(forwarded string) int { return g.signIn(t, "hunter2", "/", "X-Forwarded-For", forwarded).status }
	last := 0
	for i := range 30 {
		last = try("198.51.100." + string(rune('1'+i%9)) + ", 203.0.113.9")
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the thirtieth key of a moment is answered with %d", last)
	}
	if got := try("203.0.113.10"); got != http.StatusUnauthorized {
		t.Errorf("somebody else behind the same proxy is answered with %d", got)
	}
}

// A proxy that serves TLS, as people run it: what it says of a person's connection
// holds for the cookie and the headers, and a person's page may change things.
func TestBehindAProxyThatServesTLSTheSessionNeverGoesWithoutIt(t *testing.T) {
	for trusted, want := range map[string]string{"127.0.0.1/32": "__Host-auroramesh_session", "10.0.0.0/8": "auroramesh_session"} {
		g := guard(t, proxies(trusted))
		to, err := url.Parse(g.url)
		if err != nil {
			t.Fatal(err)
		}
		front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			p.Out.Host = p.In.Host
			p.SetXForwarded()
		}})
		t.Cleanup(front.Close)
		client := front.Client()
		client.CheckRedirect = asIs.CheckRedirect
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, front.URL+"/sign-in", strings.NewReader(url.Values{"key": {g.key(t, access.Admin)}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", form)
		req.Header.Set("Origin", front.URL)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		secure := strings.HasPrefix(want, "__Host-")
		cookies := res.Cookies()
		if res.StatusCode != 303 || len(cookies) != 1 || cookies[0].Secure != secure || cookies[0].Name != want {
			t.Errorf("%s, trusting %s: cookies %v", res.Status, trusted, cookies)
		}
		if got := res.Header.Get("Strict-Transport-Security"); (got != "") != secure {
			t.Errorf("trusting %s: Strict-Transport-Security %q", trusted, got)
		}
	}
}
