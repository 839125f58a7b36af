// Package metric makes figures that are read at the moment somebody asks for them.
// A gauge that a function sets when it happens to look is old in every replica but
// the one that looked last; what stands in the database or in the pool is read from
// there instead, so that all replicas say the same and none says what was.
package metric

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// patience is how long a reading may take: a scrape waits for it.
const patience = 2 * time.Second

// Figure is one figure of a reading.
type Figure struct {
	Name, Help string
	Labels     []string
	Counter    bool // it only grows; else it is a gauge
}

// Put gives the value of a figure, by its name, for the values of its labels.
type Put func(figure string, value float64, labels ...string)

// Read makes a collector of figures that are read together. Where the reading fails,
// what it has not put is left out: a figure that is not known is not 0.
func Read(read func(context.Context, Put) error, figures ...Figure) prometheus.Collector {
	c := &collector{read: read, figures: map[string]figure{}}
	for _, f := range figures {
		kind := prometheus.GaugeValue
		if f.Counter {
			kind = prometheus.CounterValue
		}
		c.figures[f.Name] = figure{prometheus.NewDesc(f.Name, f.Help, f.Labels, nil), kind}
	}
	return c
}

type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

type collector struct {
	read    func(context.Context, Put) error
	figures map[string]figure
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, f := range c.figures {
		descs <- f.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// The health of the part that could not be read is told elsewhere.
	_ = c.read(ctx, func(name string, value float64, labels ...string) {
		f := c.figures[name]
		metrics <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
	})
}
