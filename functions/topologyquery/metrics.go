package topologyquery

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/auroramesh/auroramesh/shared/ask"
	"github.com/auroramesh/auroramesh/shared/federation"
	"github.com/auroramesh/auroramesh/shared/metric"
)

// figures are the links as the topology has them at the moment of the scrape.
func (q query) figures() prometheus.Collector {
	return metric.Read(func(ctx context.Context, put metric.Put) error {
		top, err := q.topology(ctx, ask.None{})
		if err != nil {
			return err
		}
		for _, s := range top.Sites {
			for _, status := range federation.SiteStatuses() {
				put("aurora_site_status", oneIf(s.Status == status), string(s.ID), string(status))
			}
		}
		for _, l := range top.Links {
			peer := string(l.Peer(top.SiteID))
			for _, status := range federation.LinkStatuses() {
				put("aurora_link_status", oneIf(l.Status == status), peer, string(status))
			}
			if l.LastHeartbeatAt != nil {
				put("aurora_link_last_heartbeat_timestamp_seconds", float64(l.LastHeartbeatAt.UnixMicro())/1e6, peer)
			}
			if latency := l.Probe.Latency(); latency != nil {
				put("aurora_link_echo_loss_ratio", latency.Loss, peer)
			}
		}
		return nil
	},
		metric.Figure{Name: "aurora_site_status", Help: "1 for the status that a site of the mesh has, as this site sees it, and 0 for the others.", Labels: []string{"id", "status"}},
		metric.Figure{Name: "aurora_link_status", Help: "1 for the status that the link to a peer has, and 0 for the others.", Labels: []string{"peer", "status"}},
		metric.Figure{Name: "aurora_link_last_heartbeat_timestamp_seconds", Help: "When the newest heartbeat of a peer came, by the clock of this site; time() minus it is its age.", Labels: []string{"peer"}},
		metric.Figure{Name: "aurora_link_echo_loss_ratio", Help: "Share of the last echoes to a peer that were lost, from 0 to 1; of those since the last cut where that is not long ago.", Labels: []string{"peer"}},
	)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// count counts a transition of a link. The queue group lets one replica count it.
func (q query) count(_ context.Context, e federation.Event) error {
	if e.Transition != nil {
		q.transitions.WithLabelValues(e.Transition.ID, e.Transition.To, string(e.Transition.Cause)).Inc()
	}
	return nil
}
