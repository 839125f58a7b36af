package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticks is how many of its units of processor time /proc counts a second: so on every
// Linux that there is.
const ticks = 100

// spent is the processor time that this process and its PostgreSQL have used. Where the
// system has no /proc that of PostgreSQL is not in it.
func (b *bed) spent() time.Duration {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0
	}
	return time.Duration(own.Utime.Nano()+own.Stime.Nano()) + b.databaseSpent()
}

// databaseSpent is that of its PostgreSQL alone, where there is one.
func (b *bed) databaseSpent() (total time.Duration) {
	if b.postgres == nil {
		return 0
	}
	pid, _, _ := strings.Cut(read(filepath.Join(b.postgres.Data(), "postmaster.pid")), "\n")
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		// The name of the program, in parentheses, may hold anything.
		stat := read(path)
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		server := path == "/proc/"+pid+"/stat"
		if len(fields) < 15 || !server && fields[1] != pid {
			continue
		}
		counted := fields[11:13]
		if server { // and its processes that have ended
			counted = fields[11:15]
		}
		for _, f := range counted {
			n, _ := strconv.ParseInt(f, 10, 64)
			total += time.Duration(n) * time.Second / ticks
		}
	}
	return total
}

// per is what one of n took of a time that all took, in microseconds.
func per(n int, d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(n) }

// forgetPeak has the system count the most memory of a process anew; peak is that, in
// megabytes. Where the system does not count it, it is 0. process is its number, or self.
func forgetPeak(process string) { _ = os.WriteFile("/proc/"+process+"/clear_refs", []byte("5"), 0) } // peak says what it is without

func peak(process string) (megabytes float64) {
	for line := range bytes.Lines([]byte(read("/proc/" + process + "/status"))) {
		var kilobytes float64
		if n, _ := fmt.Sscanf(string(line), "VmHWM: %g kB", &kilobytes); n == 1 {
			return kilobytes / 1024
		}
	}
	return 0
}

// read is a file, empty where there is none.
func read(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}
