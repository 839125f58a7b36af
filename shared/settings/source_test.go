package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/settings"
)

func TestASettingMayComeFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "database-url")
	if err := os.WriteFile(path, []byte("postgres://aurora:s3cret@db/aurora\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"DATABASE_URL_FILE": path, "FEDERATION_SITE_ID": "berlin"}
	s, err := settings.Load(env)
	if err != nil || s.DatabaseURL != "postgres://aurora:s3cret@db/aurora" {
		t.Errorf("the database is %q, %v", s.DatabaseURL, err)
	}
	all, err := settings.Explain(env)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]settings.Effective{}
	for _, e := range all {
		got[e.Name] = e
		if strings.Contains(e.Value, "s3cret") {
			t.Errorf("a password is shown: %+v", e)
		}
	}
	for _, want := range []settings.Effective{
		{Name: "DATABASE_URL", Value: "postgres://aurora:xxxxx@db/aurora", From: "file " + path},
		{Name: "FEDERATION_SITE_ID", Value: "berlin", From: "environment"},
		{Name: "FEDERATION_SITE_NAME", Value: "berlin", From: "default"},
		{Name: "FEDERATION_ENABLED", Value: "true", From: "default"},
	} {
		if diff := cmp.Diff(want, got[want.Name]); diff != "" {
			t.Error(diff)
		}
	}
	if len(all) != len(settings.Variables()) {
		t.Errorf("%d settings are explained", len(all))
	}
}

func TestAFileThatCannotHoldIsRefused(t *testing.T) {
	dir := t.TempDir()
	bad, large := filepath.Join(dir, "bad"), filepath.Join(dir, "large")
	for path, text := range map[string]string{bad: "mysql://u:s3cret@h/d", large: strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for want, env := range map[string]map[string]string{
		"DATABASE_URL_FILE: \"" + dir + "/none\" is not allowed: the path of a file": {"DATABASE_URL_FILE": dir + "/none"},
		"NATS_URL_FILE: \"" + large + "\" is not allowed: the path of a file":        {"NATS_URL_FILE": large},
		"nothing where DATABASE_URL is set":                                          {"DATABASE_URL_FILE": bad, "DATABASE_URL": "sqlite:x"},
		"DATABASE_URL: \"mysql://u:xxxxx@h/d\" is not allowed":                       {"DATABASE_URL_FILE": bad},
	} {
		_, err := settings.Explain(env)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v: %v, want %q", env, err, want)
		}
	}
}

func TestAVariableThatIsASlipOfThePenIsNamed(t *testing.T) {
	env := map[string]string{
		"FEDERATION_SITE_IDD": "berlin", "HTTP_AUHT": "required", "DATABASE_URL_FLIE": "/run/secrets/url", "FEDERATION_REGION": "eu",
		"FEDERATION_SITE_ID": "berlin", "DATABASE_URL_FILE": "/run/secrets/url",
		// What a machine, Kubernetes and a proxy have beside them.
		"PATH": "/bin", "LANG": "C", "HTTP_PROXY": "http://proxy:3128", "NATS_PORT": "tcp://10.0.0.1:4222", "NATS_SERVICE_HOST": "10.0.0.1", "POSTGRES_PASSWORD": "x",
		"OTEL_TRACES_SAMPLER": "always_on", "LOGNAME": "soc",
	}
	want := []settings.Slip{
		{Name: "DATABASE_URL_FLIE", Meant: "DATABASE_URL_FILE"}, {Name: "FEDERATION_REGION"},
		{Name: "FEDERATION_SITE_IDD", Meant: "FEDERATION_SITE_ID"}, {Name: "HTTP_AUHT", Meant: "HTTP_AUTH"},
	}
	if diff := cmp.Diff(want, settings.Unknown(env)); diff != "" {
		t.Error(diff)
	}
}
