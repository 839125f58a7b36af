package demo_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/auroramesh/auroramesh/cmd/auroramesh/demo"
	"github.com/auroramesh/auroramesh/shared/fault"
	"github.com/auroramesh/auroramesh/shared/settings"
)

// A value that no setting takes is named with every setting that it reached.
func TestTheDemoHeedsEverySettingButWhoAndWhereASiteIs(t *testing.T) {
	own := []string{"FEDERATION_SITE_ID", "FEDERATION_SITE_NAME", "FEDERATION_SITE_TIER", "FEDERATION_IDENTITY_DIR"}
	const wrong = "\xff"
	var want []string
	for _, v := range settings.Variables() {
		t.Setenv(v.Name, wrong)
		if (strings.HasPrefix(v.Name, "FEDERATION_") || strings.HasPrefix(v.Name, "OTEL_")) && !slices.Contains(own, v.Name) {
			want = append(want, v.Name)
		}
	}
	_, err := demo.Start(t.Context(), demo.Options{Sites: 1, DataDir: t.TempDir(), Version: "0.0.1", Log: slog.New(slog.DiscardHandler)})
	var refused *fault.Error
	if !errors.As(err, &refused) {
		t.Fatalf("the demo started on settings that are wrong: %v", err)
	}
	var got []string
	for _, f := range refused.Fields {
		got = append(got, f.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings that reached the site (-want +got):\n%s", diff)
	}
}
