package site_test

import (
	"path/filepath"
	"testing"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/site"
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
