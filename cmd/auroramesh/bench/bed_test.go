package bench

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
	"github.com/auroramesh/auroramesh/shared/store/postgrestest"
)

func TestTheServersOfTheSitesSyncBeforeTheyConfirmWhereTheyShould(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		asked bool
		of    kind
		want  bool
	}{{false, kind{}, false}, {true, kind{}, true}, {false, kind{always: true}, true}} {
		b := &bed{Options: Options{SyncAlways: c.asked, Version: "0.0.1", Log: slog.New(slog.DiscardHandler)}}
		t.Cleanup(func() {
			if err := b.close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		m, err := b.mesh(t.Context(), c.of)
		if errors.Is(err, localpostgres.ErrNone) && !strings.Contains(os.Getenv(postgrestest.EnvRequire), "postgres") {
			t.Skipf("SKIPPED, NOT TESTED ON POSTGRESQL: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range m.Sites {
			if got := s.Server().JetStreamConfig().SyncAlways; got != c.want {
				t.Errorf("with %+v, where %t is asked for, %s syncs before it confirms: %t", c.of, c.asked, s.ID().ID, got)
			}
		}
	}
}
