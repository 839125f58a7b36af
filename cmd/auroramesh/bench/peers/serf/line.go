package main

import (
	"fmt"
	"io"
	"log" //nolint:depguard // memberlist takes no other
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// line is the transport of the agent, which counts what is sent and can be a black hole:
// what is sent is lost, what comes is not read, and nobody is told.
type line struct {
	*memberlist.NetTransport
	packets chan *memberlist.Packet
	streams chan net.Conn
	silent  atomic.Bool
	sent    atomic.Int64 // bytes
}

// listen opens the sockets; port 0 takes a free one.
func listen(host string, port int) (*line, error) {
	inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{host}, BindPort: port, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return nil, fmt.Errorf("listening at %s:%d: %w", host, port, err)
	}
	l := &line{NetTransport: inner, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn)}
	go func() {
		for p := range inner.PacketCh() {
			if !l.silent.Load() {
				l.packets <- p
			}
		}
	}()
	go func() {
		for c := range inner.StreamCh() {
			if !l.silent.Load() { // else it stays open, and nobody answers
				l.streams <- counted{c, l}
			}
		}
	}()
	return l, nil
}

func (l *line) port() int { return l.GetAutoBindPort() }

// PacketCh is what has come, but in a black hole.
func (l *line) PacketCh() <-chan *memberlist.Packet { return l.packets }

// StreamCh is who has connected, but in a black hole.
func (l *line) StreamCh() <-chan net.Conn { return l.streams }

// WriteTo sends a packet.
func (l *line) WriteTo(b []byte, addr string) (time.Time, error) {
	return l.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// WriteToAddress sends a packet.
func (l *line) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	if l.silent.Load() {
		return time.Now(), nil
	}
	l.sent.Add(int64(len(b)))
	return l.NetTransport.WriteToAddress(b, addr)
}

// DialTimeout connects.
func (l *line) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return l.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout connects; in a black hole it takes all of the time to fail.
func (l *line) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if l.silent.Load() {
		time.Sleep(timeout)
		return nil, os.ErrDeadlineExceeded
	}
	c, err := l.NetTransport.DialAddressTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	return counted{c, l}, nil
}

// counted is a connection whose bytes are counted as they are sent.
type counted struct {
	net.Conn
	line *line
}

// Write sends.
func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.line.sent.Add(int64(n))
	return n, err
}
