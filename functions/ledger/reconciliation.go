package ledger

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/store"
)

// comparisons are the figures of what the sites last found as they compared.
type comparisons struct{ lost, duplicated, compared, age *prometheus.GaugeVec }

func newComparisons(reg prometheus.Registerer) comparisons {
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "aurora_federation_reconciliation_" + name, Help: help}, []string{"peer", "direction"})
		reg.MustRegister(g)
		return g
	}
	return comparisons{
		lost:       gauge("lost", "Alerts that the receiving site had not, and that were neither on their way nor refused, when the two last compared."),
		duplicated: gauge("duplicated", "Rows of alerts that the receiving site had more than once, when the two last compared."),
		compared:   gauge("compared", "Alerts that the receiving site should have, of the time that was last compared."),
		age:        gauge("age_seconds", "How long ago the two last compared."),
	}
}

func (l ledger) measureReconciliations(found map[store.Way]federation.Reconciliation, peers []federation.SiteID) {
	for way, r := range found {
		if _, known := slices.BinarySearch(peers, way.Peer); !known {
			continue
		}
		labels := []string{string(way.Peer), string(way.Direction)}
		l.compared.lost.WithLabelValues(labels...).Set(float64(r.Lost))
		l.compared.duplicated.WithLabelValues(labels...).Set(float64(r.Duplicated))
		l.compared.compared.WithLabelValues(labels...).Set(float64(r.Compared))
		l.compared.age.WithLabelValues(labels...).Set(max(l.now().Sub(r.At), 0).Seconds())
	}
}
