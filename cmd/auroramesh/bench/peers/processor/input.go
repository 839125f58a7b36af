package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redpanda-data/benthos/v4/public/service"
)

var inputSpec = service.NewConfigSpec().
	Summary("Reads a durable consumer of a stream of NATS JetStream, and acknowledges each message by itself.").
	Fields(service.NewStringField("url"), service.NewStringField("domain"), service.NewStringField("stream"), service.NewStringField("durable"), service.NewIntField("prefetch"))

// input is a durable pull consumer.
type input struct {
	url, domain, stream, durable string
	prefetch                     int
	nc                           *nats.Conn
	messages                     jetstream.MessagesContext
}

func newInput(c *service.ParsedConfig, _ *service.Resources) (service.Input, error) {
	i := &input{}
	var err error
	for name, value := range map[string]*string{"url": &i.url, "domain": &i.domain, "stream": &i.stream, "durable": &i.durable} {
		if *value, err = c.FieldString(name); err != nil {
			return nil, err
		}
	}
	i.prefetch, err = c.FieldInt("prefetch")
	return i, err
}

// Connect connects to the server and finds the consumer.
func (i *input) Connect(ctx context.Context) (err error) {
	if i.nc, err = nats.Connect(i.url); err != nil {
		return fmt.Errorf("connecting to %s: %w", i.url, err)
	}
	js, err := jetstream.NewWithDomain(i.nc, i.domain)
	if err != nil {
		return fmt.Errorf("opening JetStream: %w", err)
	}
	c, err := js.Consumer(ctx, i.stream, i.durable)
	if err != nil {
		return fmt.Errorf("finding the consumer: %w", err)
	}
	if i.messages, err = c.Messages(jetstream.PullMaxMessages(i.prefetch)); err != nil {
		return fmt.Errorf("pulling: %w", err)
	}
	return nil
}

// Read is the next message, with its acknowledgement.
func (i *input) Read(ctx context.Context) (*service.Message, service.AckFunc, error) {
	msg, err := i.messages.Next(jetstream.NextContext(ctx))
	switch {
	case errors.Is(err, jetstream.ErrMsgIteratorClosed):
		return nil, nil, service.ErrEndOfInput
	case err != nil:
		return nil, nil, err
	}
	return service.NewMessage(msg.Data()), func(_ context.Context, failed error) error {
		if failed != nil {
			return msg.Nak()
		}
		return msg.Ack()
	}, nil
}

// Close ends the connection once what is acknowledged has been sent.
func (i *input) Close(context.Context) error {
	if i.messages != nil {
		i.messages.Stop()
	}
	if i.nc != nil {
		return i.nc.Drain()
	}
	return nil
}
