package site_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/natstest"
	"github.com/auroramesh/auroramesh/shared/settings"
	"github.com/auroramesh/auroramesh/shared/store"
)

func TestTheDefaultSettingsAreTheDefaultLimitsOfTheDatabase(t *testing.T) {
	s, err := settings.Load(map[string]string{"DATABASE_URL": "postgres://u@127.0.0.1:1/d"})
	if err != nil {
		t.Fatal(err)
	}
	if got := site.Limits(s); got != store.DefaultLimits {
		t.Errorf("they are %+v, and those of the store %+v", got, store.DefaultLimits)
	}
	s.DatabaseURL = "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	st, err := site.OpenStore(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// served is the path of a certificate of 127.0.0.1 that holds for ten days, that of
// its key, and who has signed it.
func served(t *testing.T) (cert, key string, signer *x509.CertPool) {
	t.Helper()
	a, err := authority.Create(t.TempDir(), "site-a", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := a.ServerPair(time.Now(), 10*24*time.Hour)
	ca, err2 := a.Cert()
	cert, key, signer = filepath.Join(t.TempDir(), "http.crt"), filepath.Join(t.TempDir(), "http.key"), x509.NewCertPool()
	if err := errors.Join(err, err2, a.Close(), os.WriteFile(cert, pair.Cert, 0o600), os.WriteFile(key, pair.Key, 0o600)); err != nil {
		t.Fatal(err)
	}
	signer.AppendCertsFromPEM(ca)
	return cert, key, signer
}

// The certificate of the API expires as any other. Only where the gateway runs is its file needed.
func TestTheGatewayTellsWhenTheCertificateOfTheAPIExpires(t *testing.T) {
	cert, key, signer := served(t)
	s, err := settings.Load(map[string]string{
		"NATS_URL": natstest.Start(t, "site-a").ClientURL(), "FEDERATION_SITE_ID": "site-a", "HTTP_LISTEN": "127.0.0.1:0",
		"HTTP_TLS_CERT_FILE": cert, "HTTP_TLS_KEY_FILE": key,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, want := range map[string]int{"gateway": 1, "deadletters": 0} {
		running, err := site.Start(ctx, site.Config{Settings: s, Version: "0.0.1", Functions: []string{name}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := running.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
		families, err := running.Metrics().Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, f := range families {
			if f.GetName() == "aurora_certificate_expiry_timestamp_seconds" {
				got = len(f.GetMetric())
			}
		}
		if got != want {
			t.Errorf("%s tells of %d certificates, want %d", name, got, want)
		}
		if name != "gateway" {
			continue
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: signer}}}
		res, err := client.Get("https://" + running.Addr() + "/health")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(body), cert+" expires in 9 days") {
			t.Errorf("/health says %s", body)
		}
		client.CloseIdleConnections()
	}
}

// The file that a setting names is told with the setting, not as a server that is away.
func TestAKeyThatIsNotThereIsNamedWithItsSetting(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, s := range map[string]settings.Settings{"NATS_CREDS": {NATSCreds: missing}, "NATS_NKEY": {NATSNkey: missing}, "NATS_CA": {NATSCA: missing}} {
		if _, err := site.NATSOptions(s); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name+`: "`+missing+`" is not allowed: `) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACertificateOfTheAPIThatCannotBeReadIsNamedWithItsSetting(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.pem")
	s, err := settings.Load(map[string]string{"HTTP_TLS_CERT_FILE": missing, "HTTP_TLS_KEY_FILE": missing, "HTTP_LISTEN": "127.0.0.1:0", "NATS_URL": natstest.Start(t, "site-a").ClientURL()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = site.Start(t.Context(), site.Config{Settings: s, Version: "0.0.1", Functions: []string{"gateway"}, Log: slog.New(slog.DiscardHandler)})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), `HTTP_TLS_CERT_FILE: "`+missing+`" is not allowed: `) {
		t.Errorf("the error is %v", err)
	}
}
