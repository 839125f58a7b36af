package nats_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	natsconf "github.com/auroramesh/auroramesh/infra/nats"
	"github.com/auroramesh/auroramesh/shared/natstest"
)

// sizes are how many messages are published at once: as few as go one by one, as many as go
// as a batch at least, and what alertrelay publishes at once at most.
var sizes = []int{20, 50, 500}

// BenchmarkPublishing is what sync_interval costs: messages of 1 KB with an id each, into a
// stream on the disk, until the server has confirmed them. docs/adr/0012 is about it.
func BenchmarkPublishing(b *testing.B) {
	payload := []byte(strings.Repeat("x", 1024))
	for _, always := range []bool{false, true} {
		name := "default"
		if always {
			name = "always"
		}
		ready := func(b *testing.B) (*nats.Conn, jetstream.JetStream) {
			srv := natstest.StartHub(b, natsconf.DevHub, func(o *server.Options) { o.SyncAlways = always })
			nc, err := nats.Connect(srv.ClientURL())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(nc.Close)
			js, err := jetstream.New(nc)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "ALERTS", Subjects: []string{"alerts"}, AllowAtomicPublish: true}); err != nil {
				b.Fatal(err)
			}
			return nc, js
		}
		rate := func(b *testing.B, n int) { b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "msgs/s") }
		b.Run("sync="+name+"/one", func(b *testing.B) {
			_, js := ready(b)
			i := 0
			for b.Loop() {
				i++
				if _, err := js.Publish(b.Context(), "alerts", payload, jetstream.WithMsgID(strconv.Itoa(i))); err != nil {
					b.Fatal(err)
				}
			}
			rate(b, 1)
		})
		for _, n := range sizes {
			b.Run(fmt.Sprintf("sync=%s/%d", name, n), func(b *testing.B) {
				_, js := ready(b)
				i := 0
				for b.Loop() {
					acks := make([]jetstream.PubAckFuture, n)
					for j := range acks {
						i++
						var err error
						if acks[j], err = js.PublishAsync("alerts", payload, jetstream.WithMsgID(strconv.Itoa(i))); err != nil {
							b.Fatal(err)
						}
					}
					for _, ack := range acks {
						select {
						case <-ack.Ok():
						case err := <-ack.Err():
							b.Fatal(err)
						}
					}
				}
				rate(b, n)
			})
			b.Run(fmt.Sprintf("sync=%s/%d in one", name, n), func(b *testing.B) {
				nc, _ := ready(b)
				i, batch := 0, 0
				for b.Loop() {
					batch++
					for j := range n {
						i++
						m := &nats.Msg{Subject: "alerts", Data: payload, Header: nats.Header{
							"Nats-Msg-Id": {strconv.Itoa(i)}, "Nats-Batch-Id": {strconv.Itoa(batch)}, "Nats-Batch-Sequence": {strconv.Itoa(j + 1)},
						}}
						if j < n-1 {
							if err := nc.PublishMsg(m); err != nil {
								b.Fatal(err)
							}
							continue
						}
						m.Header.Set("Nats-Batch-Commit", "1")
						answer, err := nc.RequestMsgWithContext(b.Context(), m)
						if err != nil {
							b.Fatal(err)
						}
						if !strings.Contains(string(answer.Data), `"seq"`) {
							b.Fatalf("the batch was refused: %s", answer.Data)
						}
					}
				}
				rate(b, n)
			})
		}
	}
}
