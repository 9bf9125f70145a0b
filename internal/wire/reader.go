package wire

import (
	"errors"
	"fmt"
	"net"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// readLoop is the connection's reader goroutine.
func (c *Conn) readLoop(finished func(*Conn)) {
	err := c.readFrames()
	if errors.Is(err, net.ErrClosed) {
		err = errClosedHere
	}
	c.fail(err)
	c.inHandle.Store(true) // Closed may call Close
	close(c.readDone)
	<-c.writeDone
	if errors.Is(err, ErrBadFrame) {
		c.o.Log.Warn("connection closed", "peer", c.peer.peer.Entity, "addr", c.remote, "err", err)
	}
	if c.o.Handler != nil {
		c.o.Handler.Closed(c, c.Err())
	}
	if finished != nil {
		finished(c)
	}
	close(c.finished)
}

func (c *Conn) readFrames() error {
	for {
		p, header, err := c.fr.next()
		if err != nil {
			return readError(err)
		}
		switch p.kind {
		case kindMessage, kindPing, kindPong:
		default:
			return fmt.Errorf("%w: %v after the handshake", ErrBadFrame, p.kind)
		}
		m, err := c.fr.message(p, header)
		if err != nil {
			return readError(err)
		}
		c.framesIn.Add(1)
		c.bytesIn.Add(uint64(prefixLen) + uint64(p.header) + uint64(p.payload))
		if more := c.fr.in.buffered() > 0; more != c.moreInput.Load() {
			c.moreInput.Store(more)
		}
		switch {
		case p.kind == kindPing:
			c.pong(m)
		case p.kind == kindPong || m.Header.Reply:
			c.answer(m)
		default:
			if err := c.handle(m); err != nil {
				return err
			}
		}
		if c.handled && !c.fr.whole() {
			c.idle()
		}
	}
}

// idle tells the handler that what it was given is all for now.
func (c *Conn) idle() {
	if !c.handled || c.idler == nil {
		return
	}
	c.handled = false
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.inHandle.Store(true)
	c.mu.Unlock()
	c.idler.Idle(c)
	c.inHandle.Store(false)
}

// pong answers a ping, unless our queue is full: then the peer, which does not
// read, has no use for more.
func (c *Conn) pong(m *Message) {
	if f, err := encode(kindPong, nil, stamp{tag: m.Header.Tag}, true); err == nil {
		_ = c.pushSend(f, true)
	}
}

// handle gives a request or one-way message to the handler, then waits while
// the peer has too many requests unanswered.
func (c *Conn) handle(m *Message) error {
	tag := m.Header.Tag
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return net.ErrClosed
	}
	if tag != 0 {
		if _, twice := c.inbound[tag]; twice {
			c.mu.Unlock()
			return fmt.Errorf("%w: request tag %d is already in use", ErrBadFrame, tag)
		}
		c.inbound[tag] = len(m.Payload)
		c.inCount++
		c.inBytes += len(m.Payload)
	}
	c.inHandle.Store(true)
	c.mu.Unlock()

	if c.o.Handler != nil {
		c.o.Handler.Handle(c, m)
	} else if tag != 0 {
		_ = c.ReplyError(m, wirepb.Code_UNSUPPORTED, "%s answers no requests", printable(c.o.Self.Entity))
		m.Release()
	}
	c.inHandle.Store(false)
	c.handled = true

	if tag == 0 {
		return nil
	}
	c.mu.Lock()
	if c.inCount >= c.o.InflightMax || c.inBytes >= c.o.InflightBytes {
		c.mu.Unlock()
		c.idle() // the answers that are waited for may depend on it
		c.mu.Lock()
	}
	for c.err == nil && (c.inCount >= c.o.InflightMax || c.inBytes >= c.o.InflightBytes) {
		c.readable.Wait()
	}
	c.mu.Unlock()
	return nil
}
