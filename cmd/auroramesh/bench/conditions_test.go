package bench

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

func TestTheReportSaysOnWhatItWasMeasured(t *testing.T) {
	t.Parallel()
	c := conditions("1.2.3")
	if c.Version != "1.2.3" || c.Go != runtime.Version() || c.CPUs < 1 || c.At.IsZero() {
		t.Errorf("got %+v", c)
	}
	if runtime.GOOS == "linux" && (c.Kernel == "" || c.RAM < 100) {
		t.Errorf("got kernel %q and %g MB of memory", c.Kernel, c.RAM)
	}
	_, err := localpostgres.Version()
	if errors.Is(err, localpostgres.ErrNone) && !strings.Contains(os.Getenv(postgrestest.EnvRequire), "postgres") {
		t.Skipf("SKIPPED, NOT TESTED ON POSTGRESQL: %v", err)
	}
	if err != nil || c.PostgreSQL == "" || c.PostgreSQL[0] < '1' || c.PostgreSQL[0] > '9' {
		t.Errorf("got PostgreSQL %q: %v", c.PostgreSQL, err)
	}
}

func TestTheConditionsStandInOneLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	c := Conditions{
		Version: "1.2.3", Commit: "abc (modified)", At: at, Go: "go1", OS: "linux/arm64", Kernel: "6.1", CPU: "Fast", CPUs: 4, RAM: 2048, PostgreSQL: "15.1",
	}
	if got, want := c.Text(), "auroramesh 1.2.3, commit abc (modified), go1, linux/arm64 6.1, 4 × Fast, 2.0 GB RAM, PostgreSQL 15.1, 2026-11-30T12:00:00Z"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	c = Conditions{Version: "1.2.3", At: at, Go: "go1", OS: "other/arm64", CPUs: 4}
	if got, want := c.Text(), "auroramesh 1.2.3, go1, other/arm64, 4 × CPU, 2026-11-30T12:00:00Z"; got != want {
		t.Errorf("of a machine that tells nothing: got %q, want %q", got, want)
	}
}

func TestTheCommitOfABuildSaysWhetherItsFilesWereOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings []debug.BuildSetting
		want     string
	}{
		{nil, ""},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}}, "abc"},
		{[]debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}, "abc (modified)"},
	} {
		if got := commit(c.settings); got != c.want {
			t.Errorf("of %v: got %q, want %q", c.settings, got, c.want)
		}
	}
}

func TestALineOfWhatTheSystemTells(t *testing.T) {
	t.Parallel()
	const text = "model\t\t: 2\nmodel name\t: Fast: 2 GHz\nmodel name\t: Slow\n"
	if got := line(text, "model name"); got != "Fast: 2 GHz" {
		t.Errorf("got %q", got)
	}
	if got := line(text, "flags"); got != "" {
		t.Errorf("got %q of what is not there", got)
	}
}
