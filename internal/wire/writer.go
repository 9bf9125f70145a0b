package wire

import (
	"context"
	"fmt"
	"net"
	"time"
)

const (
	groupFrames = 256     // frames written by one system call at most
	groupBytes  = 1 << 20 // and bytes, as far as frames allow
	flushFrames = 64      // Flush writes no more frames itself
	flushBytes  = 160 << 10
	pieceBytes  = 4 << 20 // a larger frame is written in pieces, so that progress shows
)

// quiet is how long nothing may have been written before Send writes inline:
// messages that follow each other faster are cheaper when they leave together.
const quiet = 30 * time.Microsecond

// usable says why nothing can be queued, with mu held.
func (c *Conn) usable() error {
	if c.err != nil {
		return c.err
	}
	if c.ending {
		return &closedError{peer: c.String(), cause: errClosedHere}
	}
	return nil
}

// full reports whether a frame of that size has to wait, with mu held. One
// frame alone is always let in, or a large one could never be sent.
func (c *Conn) full(size int) bool {
	return c.queuedFrames > 0 && (c.queuedFrames >= c.o.QueueFrames || c.queuedBytes+size > c.o.QueueBytes)
}

// pushSend queues a one-way frame or fails.
func (c *Conn) pushSend(f frame, inline bool) error { return c.pushOne(f, inline, false) }

// pushOne is pushSend; later leaves the frame to Flush.
func (c *Conn) pushOne(f frame, inline, later bool) error {
	c.mu.Lock()
	if err := c.usable(); err != nil {
		c.mu.Unlock()
		f.release()
		return err
	}
	if c.full(f.size) {
		err := fmt.Errorf("send to %v: %w: %d messages of %d bytes wait to be written", c, ErrQueueFull, c.queuedFrames, c.queuedBytes)
		c.mu.Unlock()
		f.release()
		return err
	}
	if later {
		c.queueLater(f)
		c.mu.Unlock()
		return nil
	}
	inline = inline && f.size <= inlineMax && len(c.pending) == 0 && !c.moreInput.Load() &&
		time.Since(clockBase)-time.Duration(c.lastWrite.Load()) > quiet
	c.push(f, inline)
	return nil
}

// pushAll queues one-way frames in order, for the writer goroutine. It returns
// those that could not be queued.
func (c *Conn) pushAll(frames []frame) []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range frames {
		if c.usable() != nil || c.full(f.size) {
			return frames[i:]
		}
		c.queuedFrames++
		c.queuedBytes += f.size
		c.queue = append(c.queue, f)
	}
	c.wakeWriter()
	return nil
}

// pushReply queues the answer to an inbound request. Its place among the
// unanswered requests is freed when it has been written, so a peer that asks
// and does not read cannot fill our memory.
func (c *Conn) pushReply(f frame, tag uint64, later bool) error {
	c.mu.Lock()
	if err := c.usable(); err != nil {
		c.mu.Unlock()
		f.release()
		return err
	}
	asked, ok := c.inbound[tag]
	if !ok {
		c.mu.Unlock()
		f.release()
		return fmt.Errorf("reply to %v: no unanswered request with tag %d (answered twice, or on another connection)", c, tag)
	}
	delete(c.inbound, tag)
	c.inBytes += f.size - asked
	if later {
		c.queueLater(f)
		c.mu.Unlock()
		return nil
	}
	c.push(f, f.size <= inlineMax && c.inCount == 1 && !c.moreInput.Load())
	return nil
}

// pushCall queues a request, waiting for room as long as ctx allows.
func (c *Conn) pushCall(ctx context.Context, f frame, tag uint64, cl *call) error {
	c.mu.Lock()
	for {
		if err := c.usable(); err != nil {
			c.mu.Unlock()
			f.release()
			return err
		}
		if cl.abandoned {
			c.mu.Unlock()
			f.release()
			return ErrAbandoned
		}
		if !c.full(f.size) {
			break
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-cl.result: // it is abandoned
			f.release()
			return ErrAbandoned
		case <-ctx.Done():
			f.release()
			return fmt.Errorf("%w: %w", ErrQueueFull, ctx.Err())
		}
		c.mu.Lock()
	}
	cl.started, cl.asked = c.tick, true
	c.pending[tag] = cl
	if len(c.pending) == 1 || !c.gather(f.size) {
		c.push(f, len(c.pending) == 1)
		return nil
	}
	c.queueLater(f)
	yield := c.yield
	c.mu.Unlock()
	yield()
	c.mu.Lock()
	c.gathering = false
	c.mu.Unlock()
	c.Flush()
	return nil
}

// gather reports whether the caller, who asks for something small, shall write what is queued when others have had
// the chance to queue, too. It waits for the answer anyway, and the writer goroutine need not be woken.
// It is called with mu held.
func (c *Conn) gather(size int) bool {
	if c.try == nil || size > inlineMax || c.writing || c.gathering || len(c.queue) > 0 {
		return false
	}
	c.gathering = true
	return true
}

// push queues f, or writes it at once when inline and nobody else is writing.
// It is called with mu held and unlocks it.
func (c *Conn) push(f frame, inline bool) {
	c.queuedFrames++
	c.queuedBytes += f.size
	if inline && c.try != nil && !c.writing && len(c.queue) == 0 {
		c.writing = true
		c.mu.Unlock()
		c.writeInline(f)
		return
	}
	c.queue = append(c.queue, f)
	c.wakeWriter()
	c.mu.Unlock()
}

// queueLater puts a frame into the queue without waking anybody: Flush does.
// It is called with mu held.
func (c *Conn) queueLater(f frame) {
	c.queuedFrames++
	c.queuedBytes += f.size
	c.queue = append(c.queue, f)
}

// Flush writes what Queue and QueueReply have put into the queue, as far as the
// socket has room for it now. The rest, and what is too much to be written by a
// goroutine that has other things to do, is left to the writer goroutine.
func (c *Conn) Flush() {
	c.mu.Lock()
	if c.err != nil || c.writing || len(c.queue) == 0 {
		c.mu.Unlock() // whoever is writing takes the queue next
		return
	}
	size := 0
	for i := range c.queue {
		size += c.queue[i].size
	}
	if c.try == nil || len(c.queue) > flushFrames || size > flushBytes {
		c.wakeWriter()
		c.mu.Unlock()
		return
	}
	batch := c.queue
	c.queue, c.spare = c.spare[:0], nil
	c.writing = true
	c.mu.Unlock()

	n, err := c.try.writeFrames(batch)
	if err != nil {
		c.fail(fmt.Errorf("write: %w", err))
	}
	c.lastWrite.Store(int64(time.Since(clockBase)))
	c.mu.Lock()
	c.writing = false
	c.progress++
	done := len(batch) // frames that are done with
	if c.err == nil {
		done = 0
		for done < len(batch) && n >= batch[done].left() {
			n -= batch[done].left()
			c.written(batch[done])
			done++
		}
		if done < len(batch) {
			rest := append(make([]frame, 0, len(batch)-done+len(c.queue)), batch[done:]...)
			rest[0].skip(n)
			c.queue = append(rest, c.queue...)
		}
	}
	c.wakeWriter()
	c.checkFlushed()
	c.mu.Unlock()
	for i := range done {
		batch[i].release()
	}
	clear(batch)
	c.mu.Lock()
	if c.spare == nil {
		c.spare = batch[:0]
	}
	c.mu.Unlock()
}

// wakeWriter is called with mu held.
func (c *Conn) wakeWriter() {
	if c.writerIdle && !c.writing && !c.gathering && len(c.queue) > 0 {
		c.writerIdle = false
		c.writable.Signal()
	}
}

// writeInline writes what the socket has room for and leaves the rest to the
// writer goroutine, so the caller never waits for the peer. The caller has set
// writing.
func (c *Conn) writeInline(f frame) {
	n, err := c.try.write(f.head, f.payload)
	if err != nil {
		c.fail(fmt.Errorf("write: %w", err))
	}
	c.lastWrite.Store(int64(time.Since(clockBase)))
	c.mu.Lock()
	c.writing = false
	c.progress++
	left := true // f is done with
	if c.err == nil {
		if n == f.size {
			c.written(f)
		} else {
			left = false
			c.pushRest(f, n)
		}
	}
	c.wakeWriter()
	c.checkFlushed()
	c.mu.Unlock()
	if left {
		f.release()
	}
}

// pushRest puts what is left of f after n bytes at the head of the queue, with
// mu held.
func (c *Conn) pushRest(f frame, n int) {
	f.skip(n)
	c.queue = append(c.queue, frame{})
	copy(c.queue[1:], c.queue)
	c.queue[0] = f
}

// skip drops the frame's first n bytes, which have left. Its size stays.
func (f *frame) skip(n int) {
	if n < len(f.head) {
		f.head = f.head[n:]
		return
	}
	f.payload = f.payload[n-len(f.head):]
	f.head = nil
}

// left is how many of the frame's bytes are still to be written.
func (f *frame) left() int { return len(f.head) + len(f.payload) }

// written books a frame that has left, with mu held.
func (c *Conn) written(f frame) {
	c.queuedFrames--
	c.queuedBytes -= f.size
	c.framesOut++
	c.bytesOut += uint64(f.size)
	if f.reply {
		c.inCount--
		c.inBytes -= f.size
		c.readable.Signal()
	}
	if c.room != nil && !c.full(0) {
		close(c.room)
		c.room = nil
	}
}

// checkFlushed is called with mu held.
func (c *Conn) checkFlushed() {
	if c.flushed != nil && len(c.queue) == 0 && !c.writing {
		close(c.flushed)
		c.flushed = nil
	}
}

// writeLoop is the connection's writer goroutine: it takes all that is queued
// and writes it with as few system calls as it can.
func (c *Conn) writeLoop() {
	defer close(c.writeDone)
	var batch []frame
	var backing net.Buffers // memory for the list of pieces of a system call
	for {
		c.mu.Lock()
		c.checkFlushed()
		for yielded := false; c.err == nil; {
			if len(c.queue) == 0 || c.writing {
				c.writerIdle = true
				c.writable.Wait()
				c.writerIdle = false
				continue
			}
			if yielded || len(c.pending) <= 1 && c.inCount <= 1 {
				break
			}
			// Others that are about to queue get the chance to do it before
			// the system call: a third cheaper at depth. Flush may take the queue meanwhile.
			yielded = true
			yield := c.yield
			c.mu.Unlock()
			yield()
			c.mu.Lock()
		}
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		batch, c.queue = c.queue, batch[:0]
		c.writing = true
		c.mu.Unlock()

		err := c.writeBatch(batch, &backing)

		c.lastWrite.Store(int64(time.Since(clockBase)))
		c.mu.Lock()
		c.writing = false
		c.mu.Unlock()
		if err != nil {
			c.fail(fmt.Errorf("write: %w", err))
			return
		}
		clear(batch)
		if cap(batch) > 4*groupFrames {
			batch = nil // a burst's memory is not kept
		}
	}
}

// writeBatch writes and books frames group by group, and releases all of them.
func (c *Conn) writeBatch(batch []frame, backing *net.Buffers) (err error) {
	for len(batch) > 0 {
		n, size := 0, 0
		for n < len(batch) && n < groupFrames && (n == 0 || size+batch[n].size <= groupBytes) {
			size += batch[n].size
			n++
		}
		group := batch[:n]
		batch = batch[n:]
		if err == nil {
			err = c.writeGroup(group, backing)
		}
		if err == nil {
			c.mu.Lock()
			c.progress++
			for i := range group {
				c.written(group[i])
			}
			c.mu.Unlock()
		}
		for i := range group {
			group[i].release()
		}
	}
	return err
}

func (c *Conn) writeGroup(group []frame, backing *net.Buffers) error {
	if len(group) == 1 && len(group[0].payload) == 0 {
		_, err := c.nc.Write(group[0].head)
		return err
	}
	list := (*backing)[:0]
	var rest []byte
	for i := range group {
		if len(group[i].head) > 0 {
			list = append(list, group[i].head)
		}
		if p := group[i].payload; len(p) > pieceBytes { // alone in its group
			list, rest = append(list, p[:pieceBytes]), p[pieceBytes:]
		} else if len(p) > 0 {
			list = append(list, p)
		}
	}
	*backing = list // keep the memory, WriteTo eats the list
	_, err := backing.WriteTo(c.nc)
	*backing = list[:0]
	clear(list)
	for err == nil && len(rest) > 0 {
		c.mu.Lock()
		c.progress++
		c.mu.Unlock()
		n := min(len(rest), pieceBytes)
		_, err = c.nc.Write(rest[:n])
		rest = rest[n:]
	}
	return err
}
