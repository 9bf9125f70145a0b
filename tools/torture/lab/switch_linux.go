package lab

import (
	"container/heap"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	hostsMax    = 64
	vnetHdrLen  = 10 // in front of every packet: how much the kernel left to us to segment
	frameMax    = vnetHdrLen + 65536
	smallFrame  = vnetHdrLen + 1600
	delayedMax  = 64 << 20 // bytes of packets under way on slow links
	ipv4HdrLen  = 20
	ipv4DstByte = 16
)

// fabric forwards packets between ports.
type fabric struct {
	ports [hostsMax]atomic.Pointer[port]
	links [hostsMax * hostsMax]atomic.Pointer[Link] // by from*hostsMax + to; nil: without faults
	later delayLine

	packets, bytes, cut, lost, delayed, overrun, refused atomic.Uint64
}

// port is a host's end of its tun device.
type port struct {
	f    *fabric
	at   int // the last byte of its address, too
	tun  *os.File
	rng  *rand.Rand // of pump
	done chan struct{}
}

// network is the first three bytes of every address. Nobody outside ever sees them.
var network = [3]byte{10, 77, 0}

// pump forwards what the host sends, until its device is closed.
func (p *port) pump() {
	defer close(p.done)
	buf := make([]byte, frameMax)
	for {
		n, err := p.tun.Read(buf)
		if err != nil {
			return // closed
		}
		p.f.forward(p, buf[:n])
	}
}

// forward sends one packet on its way, or not. It does not keep b.
func (f *fabric) forward(from *port, b []byte) {
	if len(b) < vnetHdrLen+ipv4HdrLen || b[vnetHdrLen]>>4 != 4 {
		return // IPv6 looks for neighbours; there are none
	}
	dst := b[vnetHdrLen+ipv4DstByte:]
	if [3]byte(dst) != network || dst[3] >= hostsMax {
		f.refused.Add(1)
		return
	}
	at := int(dst[3])
	to := f.ports[at].Load()
	if to == nil {
		f.refused.Add(1)
		return
	}
	if l := f.links[from.at*hostsMax+at].Load(); l != nil {
		switch {
		case l.Cut:
			f.cut.Add(1)
			return
		case l.Loss > 0 && from.rng.Float64() < l.Loss:
			f.lost.Add(1)
			return
		case l.Delay > 0 || l.Jitter > 0:
			d := l.Delay
			if l.Jitter > 0 {
				d += time.Duration(from.rng.Int64N(int64(l.Jitter)))
			}
			if !f.later.put(from.at*hostsMax+at, to, b, d) {
				f.overrun.Add(1)
				return
			}
			f.delayed.Add(1)
			return
		}
	}
	f.deliver(to, b)
}

func (f *fabric) deliver(to *port, b []byte) {
	if _, err := to.tun.Write(b); err != nil {
		return // the host is going away: lost, as on any network
	}
	f.packets.Add(1)
	f.bytes.Add(uint64(len(b) - vnetHdrLen))
}

// delayLine keeps packets until they are due. Those of one link stay in order.
type delayLine struct {
	f    *fabric
	kick chan struct{} // holds one: there is an earlier packet
	stop chan struct{}
	done chan struct{}

	small, large sync.Pool // of *[]byte

	mu    sync.Mutex // guards below
	queue waiting
	last  map[int]time.Time // by link: when its last packet is due
	bytes int
	seq   uint64
}

type parcel struct {
	due time.Time
	seq uint64
	to  *port
	n   int
	buf *[]byte
}

type waiting []parcel

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, j int) bool {
	if w[i].due.Equal(w[j].due) {
		return w[i].seq < w[j].seq
	}
	return w[i].due.Before(w[j].due)
}
func (w waiting) Swap(i, j int) { w[i], w[j] = w[j], w[i] }

// Push and Pop are container/heap's.
func (w *waiting) Push(x any) { *w = append(*w, x.(parcel)) }

// Pop implements heap.Interface.
func (w *waiting) Pop() any {
	old := *w
	x := old[len(old)-1]
	old[len(old)-1] = parcel{}
	*w = old[:len(old)-1]
	return x
}

func (q *delayLine) init(f *fabric) {
	q.f = f
	q.kick, q.stop, q.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	q.last = map[int]time.Time{}
	q.small.New = func() any { b := make([]byte, smallFrame); return &b }
	q.large.New = func() any { b := make([]byte, frameMax); return &b }
	go q.run() // until close
}

func (q *delayLine) close() {
	close(q.stop)
	<-q.done
}

// put takes a copy of a packet; false: too much waits already.
func (q *delayLine) put(link int, to *port, b []byte, d time.Duration) bool {
	pool := &q.large
	if len(b) <= smallFrame {
		pool = &q.small
	}
	buf := pool.Get().(*[]byte)
	copy(*buf, b)
	q.mu.Lock()
	if q.bytes+len(*buf) > delayedMax {
		q.mu.Unlock()
		pool.Put(buf)
		return false
	}
	q.bytes += len(*buf)
	due := time.Now().Add(d)
	if last := q.last[link]; due.Before(last) {
		due = last
	}
	q.last[link] = due
	q.seq++
	heap.Push(&q.queue, parcel{due, q.seq, to, len(b), buf})
	first := q.queue[0].seq == q.seq
	q.mu.Unlock()
	if first {
		select {
		case q.kick <- struct{}{}:
		default:
		}
	}
	return true
}

func (q *delayLine) run() {
	defer close(q.done)
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for {
		wait := time.Hour
		q.mu.Lock()
		for len(q.queue) > 0 {
			if wait = time.Until(q.queue[0].due); wait > 0 {
				break
			}
			p := heap.Pop(&q.queue).(parcel)
			q.bytes -= len(*p.buf)
			q.mu.Unlock()
			q.f.deliver(p.to, (*p.buf)[:p.n])
			if len(*p.buf) == smallFrame {
				q.small.Put(p.buf)
			} else {
				q.large.Put(p.buf)
			}
			q.mu.Lock()
			wait = time.Hour
		}
		q.mu.Unlock()
		t.Reset(wait)
		select {
		case <-t.C:
		case <-q.kick:
		case <-q.stop:
			return
		}
	}
}
