package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/functions/gateway"
	"github.com/auroramesh/auroramesh/shared/access"
	"github.com/auroramesh/auroramesh/shared/function"
	"github.com/auroramesh/auroramesh/shared/oidc"
	"github.com/auroramesh/auroramesh/shared/subject"
)

// certificate makes a certificate for 127.0.0.1, and the files of it and its key.
func certificate(t *testing.T) (pool *x509.CertPool, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	pool = x509.NewCertPool()
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pool.AppendCertsFromPEM(data)
	for name, data := range map[string][]byte{certFile: data, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool, certFile, keyFile
}

func TestUnderTLSTheSessionNeverGoesWithoutIt(t *testing.T) {
	g := guard(t)
	pool, certFile, keyFile := certificate(t)
	c := g.config("127.0.0.1:0")
	c.Auth, c.Now, c.CertFile, c.KeyFile = access.Required, g.now, certFile, keyFile
	nc, err := nats.Connect(g.bus.Conn().ConnectedUrl(), nats.CustomInboxPrefix(subject.Inbox(identity.ID))) // one without the stand-ins
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if c.Bus, err = function.NewBus(nc, identity); err != nil {
		t.Fatal(err)
	}
	r, err := function.Start(gateway.New(c), c.Bus, function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		if err := r.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, CheckRedirect: asIs.CheckRedirect, Timeout: 30 * time.Second}
	res, err := client.PostForm("https://"+r.Addr()+"/sign-in", url.Values{"key": {g.key(t, access.Admin)}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	cookies := res.Cookies()
	if res.StatusCode != 303 || len(cookies) != 1 || !cookies[0].Secure || cookies[0].Name != "__Host-auroramesh_session" || res.ProtoMajor != 2 {
		t.Errorf("%s %s, cookies %v", res.Proto, res.Status, cookies)
	}
	if got := res.Header.Get("Strict-Transport-Security"); !strings.HasPrefix(got, "max-age=") {
		t.Errorf("Strict-Transport-Security %q", got)
	}
	plain, err := client.Get("http://" + r.Addr() + "/health/live")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Body.Close()
	if text, err := io.ReadAll(plain.Body); plain.StatusCode != 400 || err != nil {
		t.Errorf("without TLS: %s %s, %v", plain.Status, text, err)
	}
	if r := g.do(t, "GET", "/health/live", ""); r.header.Get("Strict-Transport-Security") != "" {
		t.Error("a site without TLS promises it")
	}
}

func TestAFileThatIsNoCertificateStopsTheStart(t *testing.T) {
	s := newSite(t, "127.0.0.1:0")
	c := s.config("127.0.0.1:0")
	c.CertFile, c.KeyFile = filepath.Join(t.TempDir(), "none.pem"), filepath.Join(t.TempDir(), "none.key")
	if _, err := function.Start(gateway.New(c), s.bus, function.NewMetrics(prometheus.NewRegistry()), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "none.pem") {
		t.Errorf("it started: %v", err)
	}
}

func TestATokenOfTheIssuerIsTakenAsAKeyIs(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var issuer *httptest.Server
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			data, err := jose.JSONWebKey{Key: key.Public(), KeyID: "one"}.MarshalJSON()
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write([]byte(`{"keys":[` + string(data) + `]}`))
			return
		}
		_, _ = w.Write([]byte(`{"issuer":"` + issuer.URL + `","jwks_uri":"` + issuer.URL + `/keys"}`))
	}))
	t.Cleanup(func() { issuer.CloseClientConnections(); issuer.Close() })
	g := guard(t)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "one"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": issuer.URL, "aud": "soc-a", "sub": "u-17", "client_id": "soar", "exp": noon.Add(time.Minute).Unix(), "scope": "alerts:write",
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	if r := g.do(t, "GET", "/api/v1/access/me", "", "Authorization", "Bearer "+token); r.status != 401 || !strings.Contains(string(r.body), "no tokens of an issuer") {
		t.Errorf("a site without an issuer: %d %s", r.status, r.body)
	}
	c := g.config("0.0.0.0:8000")
	c.Auth, c.Now = access.Required, g.now
	c.Tokens = oidc.New(oidc.Config{Issuer: issuer.URL, Audience: "soc-a", Client: issuer.Client(), Now: g.now})
	web := httptest.NewServer(gateway.Handler(c))
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	g.url = web.URL
	me := decode[access.Principal](t, g.do(t, "GET", "/api/v1/access/me", "", "Authorization", "bearer "+token))
	if me.Kind != access.KindToken || me.ID != "u-17" || me.Name != "soar" {
		t.Errorf("the principal is %+v", me)
	}
	if r := g.do(t, "POST", "/api/v1/alerts", `{"title":"t","severity":"high","source":"test"}`, "Authorization", "Bearer "+token); r.status != 201 {
		t.Errorf("with the scope: %d %s", r.status, r.body)
	}
	if r := g.do(t, "GET", "/api/v1/alerts", "", "Authorization", "Bearer "+token); r.status != 403 {
		t.Errorf("without the scope: %d %s", r.status, r.body)
	}
	if got := g.audited(); len(got) != 1 || !strings.HasPrefix(got[0], "token POST /api/v1/alerts 201") || g.noted[0].Who != "u-17" {
		t.Errorf("the audit log has %v", got)
	}
	g.pass(time.Minute + oidc.Leeway)
	if r := g.do(t, "GET", "/api/v1/access/me", "", "Authorization", "Bearer "+token); r.status != 401 {
		t.Errorf("after its time: %d %s", r.status, r.body)
	}
}
