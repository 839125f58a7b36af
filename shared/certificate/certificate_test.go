package certificate_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/authority"
	"github.com/auroramesh/auroramesh/shared/certificate"
)

func TestAFileSaysWhenItExpiresAndWarnsInTime(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	a, err := authority.Create(t.TempDir(), "site-a", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	pair, err := a.Enrol("site-b", nil, now, 100*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "site.crt")
	if err := os.WriteFile(path, append(pair.Key, pair.Cert...), 0o600); err != nil { // a key beside it is no matter
		t.Fatal(err)
	}
	files := certificate.Split(path + ", ," + path)
	if got, want := figures(t, files), map[string]float64{path: float64(now.AddDate(0, 0, 100).Unix())}; !maps.Equal(got, want) {
		t.Errorf("the figures are %v, want %v", got, want)
	}
	for day, want := range map[int]string{0: "", 69: "", 71: "expires in 29 days, at 2027-03-10T12:00:00Z", 100: "expired at 2027-03-10T12:00:00Z"} {
		got := strings.Join(files[:1].Warnings(now.AddDate(0, 0, day)), "; ")
		if want == "" && got != "" || !strings.HasSuffix(got, want) {
			t.Errorf("after %d days it warns %q, want %q", day, got, want)
		}
	}
}

func TestAFileThatCannotBeReadIsWarnedOf(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.crt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	files := certificate.Files{filepath.Join(t.TempDir(), "none.crt"), empty}
	got := files.Warnings(time.Now())
	if len(got) != 2 || !strings.Contains(got[0], "no such file") || !strings.Contains(got[1], "no certificate in PEM") {
		t.Errorf("it warns %q", got)
	}
	if got := figures(t, files); len(got) != 2 || got[empty] != 0 {
		t.Errorf("the figures are %v", got)
	}
}

// figures are the gauges by file.
func figures(t *testing.T, files certificate.Files) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(files)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "aurora_certificate_expiry_timestamp_seconds" {
		t.Fatalf("%v: %v", families, err)
	}
	all := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		all[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
	}
	return all
}
