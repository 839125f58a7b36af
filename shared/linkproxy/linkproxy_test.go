package linkproxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/auroramesh/auroramesh/shared/linkproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait: a test that needs it has failed.
const patience = 5 * time.Second

// quiet is how long a test listens to be sure that nothing comes.
const quiet = 60 * time.Millisecond

// line is a proxy with a server behind it that hands its connections over.
type line struct {
	t     *testing.T
	proxy *linkproxy.Proxy
	taken chan net.Conn // by the server
}

func newLine(t *testing.T) *line {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{t: t, taken: make(chan net.Conn, 16)}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			l.taken <- c
		}
	})
	t.Cleanup(func() {
		server.Close()
		accepting.Wait()
		close(l.taken)
		for c := range l.taken {
			c.Close()
		}
	})
	if l.proxy, err = linkproxy.Listen("127.0.0.1:0", server.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.proxy.Close(); err != nil {
			t.Errorf("closing the proxy: %v", err)
		}
	})
	return l
}

func (l *line) dial() net.Conn {
	l.t.Helper()
	c, err := net.Dial("tcp", l.proxy.Addr())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return c
}

// pair is both ends of one connection through the proxy.
func (l *line) pair() (client, server net.Conn) {
	l.t.Helper()
	client = l.dial()
	select {
	case server = <-l.taken:
		l.t.Cleanup(func() { server.Close() })
		return client, server
	case <-time.After(patience):
		l.t.Fatal("the connection did not reach the server")
		return nil, nil
	}
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("sending %q: %v", text, err)
	}
}

// readFor bounds the next reads.
func readFor(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	readFor(t, c, patience)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("got %q and %v, want %q", got[:n], err, want)
	}
}

func expectQuiet(t *testing.T, c net.Conn) {
	t.Helper()
	readFor(t, c, quiet)
	n, err := c.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("something came: %d bytes and %v", n, err)
	}
}

func expectEnd(t *testing.T, c net.Conn) {
	t.Helper()
	readFor(t, c, patience)
	if rest, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is still open after %q", rest)
	}
}

func TestEverythingPassesInBothDirections(t *testing.T) {
	client, server := newLine(t).pair()
	send(t, client, "from the leaf")
	expect(t, server, "from the leaf")
	send(t, server, "from the hub")
	expect(t, client, "from the hub")
}

func TestWhatHasPassedIsCountedInBothDirections(t *testing.T) {
	l := newLine(t)
	client, server := l.pair()
	send(t, client, "four")
	expect(t, server, "four")
	send(t, server, "seventy")
	expect(t, client, "seventy")
	if got := l.proxy.Passed(); got != 11 {
		t.Errorf("%d bytes have passed, not 11", got)
	}
	l.proxy.Set(linkproxy.BlackHole)
	send(t, client, "and this has not")
	expectQuiet(t, server)
	if got := l.proxy.Passed(); got != 11 {
		t.Errorf("%d bytes have passed with what a black hole holds, not 11", got)
	}
}

func TestTheEndOfAConnectionArrivesBehindItsLastByte(t *testing.T) {
	l := newLine(t)
	client, server := l.pair()
	send(t, client, "the last word")
	client.Close()
	expect(t, server, "the last word")
	expectEnd(t, server)

	client, server = l.pair()
	server.Close()
	expectEnd(t, client)
}

func TestACutClosesOpenConnectionsAndRefusesNewOnes(t *testing.T) {
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Set(linkproxy.Cut)
	expectEnd(t, client)
	expectEnd(t, server)
	expectEnd(t, l.dial())
	select {
	case c := <-l.taken:
		c.Close()
		t.Fatal("a connection went through a cut link")
	case <-time.After(quiet):
	}

	l.proxy.Set(linkproxy.Pass)
	client, server = l.pair()
	send(t, client, "healed")
	expect(t, server, "healed")
}

func TestABlackHoleHoldsWhatIsSentUntilItIsOver(t *testing.T) {
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Set(linkproxy.BlackHole)
	send(t, client, "one ")
	send(t, client, "two")
	send(t, server, "three")
	expectQuiet(t, server)
	expectQuiet(t, client)

	l.proxy.Set(linkproxy.Pass)
	expect(t, server, "one two")
	expect(t, client, "three")
}

func TestABlackHoleTellsNobodyThatAConnectionEndedOrBegan(t *testing.T) {
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Set(linkproxy.BlackHole)
	client.Close()
	late := l.dial()
	send(t, late, "hello")
	expectQuiet(t, server)
	select {
	case c := <-l.taken:
		c.Close()
		t.Fatal("a new connection came out of a black hole")
	default:
	}

	l.proxy.Set(linkproxy.Pass)
	expectEnd(t, server)
	select {
	case c := <-l.taken:
		defer c.Close()
		expect(t, c, "hello")
	case <-time.After(patience):
		t.Fatal("the connection of the black hole did not arrive after it")
	}
}

func TestABlackHoleThatIsCutEndsTheConnections(t *testing.T) {
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Set(linkproxy.BlackHole)
	send(t, client, "lost")
	l.proxy.Set(linkproxy.Cut)
	expectEnd(t, client)
	expectEnd(t, server)
}

func TestADelayIsAddedToEachDirection(t *testing.T) {
	const delay = 30 * time.Millisecond
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Delay(delay)
	begun := time.Now()
	send(t, client, "ping")
	expect(t, server, "ping")
	if took := time.Since(begun); took < delay {
		t.Errorf("one way took %v, want at least %v", took, delay)
	}
	send(t, server, "pong")
	expect(t, client, "pong")
	if took := time.Since(begun); took < 2*delay {
		t.Errorf("the round trip took %v, want at least %v", took, 2*delay)
	}

	l.proxy.Delay(0)
	send(t, client, "soon")
	expect(t, server, "soon")
}

func TestAStallHoldsBackWhatIsReadAndAllBehindIt(t *testing.T) {
	const stall = 5 * quiet
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Stall(1, stall)
	begun := time.Now()
	send(t, client, "held")
	expectQuiet(t, server)
	l.proxy.Stall(0, stall) // what is read from now on is not held back itself
	send(t, client, " behind")
	expect(t, server, "held behind")
	if took := time.Since(begun); took < stall {
		t.Errorf("it took %v, want at least %v", took, stall)
	}
}

// A share of the reads stalls and the rest does not: of a hundred round trips some take long.
func TestAShareOfTheReadsStalls(t *testing.T) {
	const stall, turns = 30 * time.Millisecond, 100
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Stall(0.2, stall)
	stalled := 0
	for range turns {
		begun := time.Now()
		send(t, client, "ping")
		expect(t, server, "ping")
		if time.Since(begun) >= stall {
			stalled++
		}
	}
	if stalled == 0 || stalled > turns/2 {
		t.Errorf("%d of %d stalled, want about a fifth", stalled, turns)
	}
}

func TestADelayTakesNothingFromTheThroughput(t *testing.T) {
	const delay = 50 * time.Millisecond
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB: 64 reads of the proxy or more
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Delay(delay)
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := client.Write(data); err != nil {
			t.Errorf("sending: %v", err)
		}
	})
	defer sending.Wait()
	begun := time.Now()
	got := make([]byte, len(data))
	readFor(t, server, 2*patience)
	if _, err := io.ReadFull(server, got); err != nil {
		t.Fatal(err)
	}
	// Were each read held back in turn, it would take 64 delays.
	if took := time.Since(begun); took < delay || took > 32*delay {
		t.Errorf("4 MiB took %v with a delay of %v", took, delay)
	}
	if !bytes.Equal(got, data) {
		t.Error("the data arrived changed")
	}
}

func TestCloseEndsEverythingAtOnceInEveryMode(t *testing.T) {
	for name, set := range map[string]func(*linkproxy.Proxy){
		"while everything passes":                func(*linkproxy.Proxy) {},
		"while the link is a black hole":         func(p *linkproxy.Proxy) { p.Set(linkproxy.BlackHole) },
		"while the link is cut":                  func(p *linkproxy.Proxy) { p.Set(linkproxy.Cut) },
		"while bytes wait for an hour to be due": func(p *linkproxy.Proxy) { p.Delay(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t)
			client, server := l.pair()
			set(l.proxy)
			_, _ = io.WriteString(client, "on its way") // the cut may be quicker
			begun := time.Now()
			for range 2 { // the second is nothing
				if err := l.proxy.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if took := time.Since(begun); took > patience {
				t.Errorf("closing took %v", took)
			}
			expectEnd(t, client)
			expectEnd(t, server)
			if _, err := net.Dial("tcp", l.proxy.Addr()); err == nil {
				t.Error("a closed proxy still listens")
			}
		})
	}
}

func TestATargetThatIsNotThereEndsTheConnection(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := free.Addr().String()
	free.Close()
	p, err := linkproxy.Listen("127.0.0.1:0", target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("closing the proxy: %v", err)
		}
	})
	l := &line{t: t, proxy: p}
	expectEnd(t, l.dial())
}

func TestAnOccupiedAddressIsNamed(t *testing.T) {
	l := newLine(t)
	if p, err := linkproxy.Listen(l.proxy.Addr(), "127.0.0.1:1"); err == nil {
		t.Fatal("two proxies listen at one address", p.Close())
	}
}

func TestANarrowLineLetsSoManyBytesASecondPass(t *testing.T) {
	l := newLine(t)
	client, server := l.pair()
	l.proxy.Narrow(100 << 10)
	sent := bytes.Repeat([]byte("x"), 30<<10)
	begun := time.Now()
	if _, err := client.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := server.SetReadDeadline(begun.Add(10 * patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, make([]byte, len(sent))); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 250*time.Millisecond { // by the figures 300 ms
		t.Errorf("30 KiB took %s at 100 KiB a second", took)
	}
}
