// Package linkproxy is a TCP proxy that stands in for the line between two sites,
// so that the line can fail on purpose: it can be cut (connections are closed and
// new ones refused), black-holed (nothing arrives, nobody is told), delayed, made
// narrow, or made to stall now and then. The drill and the tests put it between a leaf and its hub.
package linkproxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is what the proxy does with what passes through it.
type Mode int

// The modes.
const (
	Pass      Mode = iota // everything passes, after the delay
	Cut                   // connections are closed, new ones at once
	BlackHole             // nothing arrives and nobody is told, not even that a connection has ended; what was sent arrives when it is over
)

// Proxy is a proxy at work.
type Proxy struct {
	target   string
	listener net.Listener
	passed   atomic.Int64 // bytes

	mu     sync.Mutex
	change *sync.Cond // of mode, or a connection's end
	mode   Mode
	delay  time.Duration // one way
	share  float64       // of the reads that stall
	stall  time.Duration // on top of the delay
	narrow int           // bytes a second in each direction; 0: as many as there are
	conns  map[net.Conn]struct{}
	ctx    context.Context // ends when the proxy is closed
	end    context.CancelFunc
	wg     sync.WaitGroup
}

// Listen starts a proxy at listen ("127.0.0.1:0" takes a free port) for target.
func Listen(listen, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listening for the link proxy: %w", err)
	}
	p := &Proxy{target: target, listener: l, conns: map[net.Conn]struct{}{}}
	p.change = sync.NewCond(&p.mu)
	p.ctx, p.end = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is the address at which the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set changes the mode. Cut closes the connections that are open.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	p.change.Broadcast()
	if m == Cut {
		for c := range p.conns {
			c.Close()
		}
	}
}

// Delay holds every byte back for d in each direction; a round trip takes 2·d longer.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Stall holds a share of what is read, 0 to 1, back for d more. The bytes behind it
// wait with it, as behind a packet that was lost and is sent again.
func (p *Proxy) Stall(share float64, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.share, p.stall = share, d
}

// Narrow lets a connection have so many bytes a second in each direction; 0 lets it have all.
// What is more waits in the proxy, as it does in front of a narrow line.
func (p *Proxy) Narrow(bytesPerSecond int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.narrow = bytesPerSecond
}

// crossing is how long so many bytes take that cross now, beside the delay.
func (p *Proxy) crossing(bytes int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.narrow == 0 {
		return 0
	}
	return time.Duration(bytes) * time.Second / time.Duration(p.narrow)
}

// held is how long what is read now is held back.
func (p *Proxy) held() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rand.Float64() < p.share {
		return p.delay + p.stall
	}
	return p.delay
}

// Passed is how many bytes were passed on so far, in both directions together, without the headers of TCP and IP.
func (p *Proxy) Passed() int64 { return p.passed.Load() }

// Close ends the proxy and every connection through it, at once. It may be called more than once.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.ctx.Err() != nil {
		p.mu.Unlock()
		return nil
	}
	p.end()
	p.change.Broadcast()
	err := p.listener.Close()
	for c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as too many open files: it passes
			p.sleep(10 * time.Millisecond)
			continue
		}
		if !p.add(in) {
			in.Close()
			continue
		}
		p.wg.Go(func() { p.join(in) })
	}
}

// add keeps track of a connection; it reports false where the link is cut.
func (p *Proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil || p.mode == Cut {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) remove(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	p.change.Broadcast()
}

func (p *Proxy) join(in net.Conn) {
	defer p.remove(in)
	if !p.passable(in) {
		return
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	out, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return
	}
	if !p.add(out) {
		out.Close()
		return
	}
	defer p.remove(out)
	var pair sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		pair.Go(func() { p.copy(way[0], way[1]) })
	}
	pair.Wait()
}

// piece is what one read gave; without data it is the end of the connection.
type piece struct {
	data []byte
	due  time.Time
}

// copy reads without waiting and writes each piece when it is due, so that a
// delay adds time to every byte but takes nothing from the throughput. The end of
// from reaches to in its turn, behind the last byte.
func (p *Proxy) copy(from, to net.Conn) {
	pieces := make(chan piece, 4096)
	var writer sync.WaitGroup
	writer.Go(func() {
		for pc := range pieces {
			p.sleep(time.Until(pc.due))
			if !p.passable(to) {
				continue
			}
			if pc.data == nil {
				p.remove(to)
				continue
			}
			p.write(to, pc.data)
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		due := time.Now().Add(p.held())
		if n > 0 {
			pieces <- piece{append([]byte(nil), buf[:n]...), due}
		}
		if err != nil {
			pieces <- piece{nil, due}
			break
		}
	}
	close(pieces)
	p.remove(from)
	writer.Wait()
}

// atOnce is how many bytes cross a narrow line at once: few, so that what they carry comes bit by bit.
const atOnce = 1 << 10

// write passes a piece on, as fast as the line lets it.
func (p *Proxy) write(to net.Conn, data []byte) {
	for next := time.Now(); len(data) > 0; {
		n := len(data)
		if p.crossing(n) > 0 {
			n = min(n, atOnce)
		}
		next = next.Add(p.crossing(n)) // by the clock, so that a late wake-up is made up for
		p.sleep(time.Until(next))
		p.passed.Add(int64(n))
		if _, err := to.Write(data[:n]); err != nil {
			p.remove(to)
			return
		}
		data = data[n:]
	}
}

// sleep waits for d, or until the proxy is closed.
func (p *Proxy) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
	}
}

// passable waits out a black hole; it reports false where the connection has ended meanwhile.
func (p *Proxy) passable(to net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if _, open := p.conns[to]; !open || p.ctx.Err() != nil {
			return false
		}
		if p.mode != BlackHole {
			return true
		}
		p.change.Wait()
	}
}
