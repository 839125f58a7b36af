package bench

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store"
	"github.com/auroramesh/auroramesh/shared/store/localpostgres"
)

// BenchmarkRows is what the rows of [ingest] take of the processor by themselves: a thousand
// alerts in one transaction, with what finds them by their IOCs and techniques and without.
func BenchmarkRows(b *testing.B) {
	stand := &bed{}
	b.Cleanup(func() {
		if err := stand.close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	err := stand.database(b.Context())
	if errors.Is(err, localpostgres.ErrNone) {
		b.Skipf("SKIPPED, NOT MEASURED ON POSTGRESQL: %v", err)
	}
	if err != nil {
		b.Fatal(err)
	}
	for name, marked := range map[string]bool{"marked": true, "unmarked": false} {
		b.Run(name, func(b *testing.B) {
			dsn, err := stand.create(b.Context(), name)
			if err != nil {
				b.Fatal(err)
			}
			st, err := store.Open(b.Context(), dsn)
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := st.Close(); err != nil {
					b.Error(err)
				}
			}()
			now, rows, spent := time.Now(), make([]federation.Alert, copied), time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				for i := range rows {
					rows[i] = shared(hub, now).Received(uuid.Must(uuid.NewV7()).String(), now)
					if !marked {
						rows[i].IOCs, rows[i].MitreTechniques = nil, nil
					}
				}
				before := stand.spent()
				b.StartTimer()
				if _, err := st.ReceiveAlerts(b.Context(), rows, nil); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				spent += stand.spent() - before
				b.StartTimer()
			}
			b.ReportMetric(per(copied*b.N, spent), "cpu-µs/alert")
		})
	}
}
