package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client/bucket"
)

// Topic is where events go: kept by bucket.Service under its name, as JSON.
type Topic struct {
	Format   int       `json:"v"`
	Endpoint string    `json:"endpoint"` // http or https
	Created  time.Time `json:"created"`
}

const topicFormat = 1

// NewTopic describes a topic whose events are posted to a URL.
func NewTopic(endpoint string, now time.Time) ([]byte, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Fragment != "" || len(endpoint) > 2048 {
		return nil, fmt.Errorf("endpoint %q: want http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH", endpoint)
	}
	return json.Marshal(Topic{Format: topicFormat, Endpoint: endpoint, Created: now.UTC().Truncate(time.Second)})
}

// CheckTopicName reports what is wrong with the name of a topic. The rules are those of Amazon's SNS.
func CheckTopicName(name string) error {
	ok := len(name) >= 1 && len(name) <= bucket.MaxTopicBytes
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if !ok {
		return fmt.Errorf("topic name %q: want 1 to %d letters, digits, hyphens and underscores", name, bucket.MaxTopicBytes)
	}
	return nil
}

// ParseTopic is the reverse of NewTopic.
func ParseTopic(doc []byte) (Topic, error) {
	var t Topic
	if err := json.Unmarshal(doc, &t); err != nil {
		return t, fmt.Errorf("a topic's description: %w", err)
	}
	if t.Format != topicFormat {
		return t, fmt.Errorf("a topic's description has format %d, this version knows %d: use a newer cairn", t.Format, topicFormat)
	}
	return t, nil
}

// notifier delivers events: those of changes made by this gateway at once, those that others left behind when it looks for them.
// Of all gateways one at a time takes care of a partition. An event that is delivered is dropped then, so that a gateway that
// dies in between has it delivered twice. Those of a topic that does not answer wait; others do not wait for them.
type notifier struct {
	s      *Server
	who    string // this gateway, in claims
	http   *http.Client
	wake   chan struct{}
	worker sync.WaitGroup

	mu      sync.Mutex           // guards below
	pending map[string]time.Time // partitions that may have events, and when to look
	busy    map[string]bool      // partitions that are being delivered
	claims  map[string]time.Time // partitions that are ours, until then
	rests   map[string]*rest     // topics that do not answer
	topics  map[string]*Topic    // known; nil: there is none
	read    time.Time            // when topics was last emptied
}

// rest is how long a topic is left alone after it did not answer.
type rest struct {
	until   time.Time
	last    time.Duration
	trimmed map[string]time.Time // when a partition's backlog was last held against its bound
}

const (
	eventTimeout = 10 * time.Second // for an endpoint to answer
	eventPage    = 64               // delivered, and then dropped, together
	eventWorkers = 4                // partitions at a time
	eventClaim   = 10 * time.Second
	restFirst    = time.Second // doubled up to
	restMost     = time.Minute
	maxPending   = 100_000 // partitions; others are found by looking for them
)

func newNotifier(s *Server) *notifier {
	var id [8]byte
	rand.Read(id[:])
	return &notifier{
		s: s, who: hex.EncodeToString(id[:]), wake: make(chan struct{}, 1),
		http: &http.Client{
			Timeout:       eventTimeout,
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		pending: map[string]time.Time{}, busy: map[string]bool{}, claims: map[string]time.Time{}, rests: map[string]*rest{}, topics: map[string]*Topic{},
	}
}

// soon has a partition looked at at a time, or at once.
func (n *notifier) soon(partition string, at time.Time) {
	n.mu.Lock()
	old, there := n.pending[partition]
	if !there && len(n.pending) < maxPending || there && at.Before(old) {
		n.pending[partition] = at
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run delivers until ctx ends.
func (n *notifier) run(ctx context.Context) {
	look := time.NewTimer(0)
	defer look.Stop()
	defer n.http.CloseIdleConnections()
	slots := make(chan struct{}, eventWorkers)
	defer n.worker.Wait()
	for {
		due, next := n.due()
		for _, partition := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			n.worker.Go(func() { // ends with ctx, or when nothing is left that can be delivered
				defer func() { <-slots }()
				defer n.done(partition)
				if err := n.deliver(ctx, partition); err != nil && ctx.Err() == nil {
					n.s.log.Warn("deliver events", "partition", partition, "err", err)
					n.soon(partition, time.Now().Add(restMost/4))
				}
			})
		}
		again := time.NewTimer(next)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-n.wake:
		case <-again.C:
		case <-look.C:
			if err := n.s.o.Buckets.EventPartitions(ctx, func(p string) error { n.soon(p, time.Time{}); return ctx.Err() }); err != nil && ctx.Err() == nil {
				n.s.log.Warn("look for events", "err", err)
			}
			look.Reset(n.s.o.EventPeriod)
		}
		again.Stop()
	}
}

// due takes the partitions whose time has come, and says how long it is to the next.
func (n *notifier) due() (due []string, next time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	next = time.Minute
	for p, at := range n.pending {
		if wait := at.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		if n.busy[p] {
			continue // again when that is done: it may have looked before there was more
		}
		n.busy[p] = true
		due = append(due, p)
		delete(n.pending, p)
	}
	slices.Sort(due)
	return due, next
}

func (n *notifier) done(partition string) {
	n.mu.Lock()
	delete(n.busy, partition)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// deliver delivers what a partition has.
func (n *notifier) deliver(ctx context.Context, partition string) error {
	topics, err := n.s.o.Buckets.EventTopics(ctx, partition)
	if err != nil || len(topics) == 0 {
		return err
	}
	var later time.Time
	for _, topic := range topics {
		again, err := n.topic(ctx, partition, topic)
		if err != nil {
			return err
		}
		if !again.IsZero() && (later.IsZero() || again.Before(later)) {
			later = again
		}
	}
	if !later.IsZero() {
		n.soon(partition, later)
	}
	return nil
}

// claim reports whether the partition is ours to deliver.
func (n *notifier) claim(ctx context.Context, partition string) (bool, error) {
	now := time.Now()
	n.mu.Lock()
	mine := n.claims[partition].Sub(now) > eventClaim/3
	n.mu.Unlock()
	if mine {
		return true, nil
	}
	until := now.Add(eventClaim)
	mine, err := n.s.o.Buckets.ClaimEvents(ctx, partition, n.who, until)
	if mine {
		n.mu.Lock()
		maps.DeleteFunc(n.claims, func(_ string, until time.Time) bool { return until.Before(now) })
		n.claims[partition] = until
		n.mu.Unlock()
	}
	return mine, err
}

// topic delivers what a partition has for a topic. If some of it has to wait it says for when.
func (n *notifier) topic(ctx context.Context, partition, name string) (later time.Time, err error) {
	if until := n.resting(name); !until.IsZero() {
		return until, nil
	}
	t, err := n.find(ctx, name)
	if err != nil {
		return later, err
	}
	for {
		mine, err := n.claim(ctx, partition)
		if err != nil {
			return later, err
		}
		if !mine {
			return time.Now().Add(eventClaim), nil
		}
		evs, more, err := n.s.o.Buckets.EventsOf(ctx, partition, name, nil, eventPage)
		if err != nil || len(evs) == 0 {
			return later, err
		}
		drop, failed := n.send(ctx, t, evs)
		if len(drop) > 0 {
			if err := n.s.o.Buckets.DropEvents(ctx, partition, drop); err != nil {
				return later, err
			}
		}
		if failed != nil {
			return n.tire(ctx, partition, name, failed)
		}
		n.rested(name)
		if !more {
			return later, nil
		}
	}
}

// send posts events and returns those to be dropped: delivered, too old, or of a topic that is no more.
func (n *notifier) send(ctx context.Context, t *Topic, evs []bucket.StoredEvent) (drop []bucket.StoredEvent, failed error) {
	var mu sync.Mutex // guards drop and failed
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for _, ev := range evs {
		if t == nil || n.s.o.Now().Sub(ev.At) > bucket.EventAge {
			n.s.metrics.events.WithLabelValues("dropped").Inc()
			mu.Lock()
			drop = append(drop, ev)
			mu.Unlock()
			continue
		}
		slots <- struct{}{}
		mu.Lock()
		over := failed != nil
		mu.Unlock()
		if over || ctx.Err() != nil {
			<-slots
			break
		}
		all.Go(func() { // ends with its timeout
			defer func() { <-slots }()
			err := n.post(ctx, t.Endpoint, ev.Doc)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				n.s.metrics.events.WithLabelValues("failed").Inc()
				return
			}
			n.s.metrics.events.WithLabelValues("delivered").Inc()
			drop = append(drop, ev)
		})
	}
	all.Wait()
	if failed == nil {
		failed = ctx.Err()
	}
	return drop, failed
}

func (n *notifier) post(ctx context.Context, endpoint string, doc []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(doc))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "cairn")
	resp, err := n.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return errors.New("the endpoint answers with " + strings.TrimSpace(resp.Status))
	}
	return nil
}

// find returns a topic, nil if there is none.
func (n *notifier) find(ctx context.Context, name string) (*Topic, error) {
	n.mu.Lock()
	if time.Since(n.read) > n.s.o.UserTTL {
		clear(n.topics)
		n.read = time.Now()
	}
	t, known := n.topics[name]
	n.mu.Unlock()
	if known {
		return t, nil
	}
	doc, err := n.s.o.Buckets.Topic(ctx, name)
	if err != nil {
		return nil, err
	}
	if doc != nil {
		parsed, err := ParseTopic(doc)
		if err != nil {
			return nil, fmt.Errorf("topic %q: %w", name, err)
		}
		t = &parsed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.topics[name] = t
	return t, nil
}

func (n *notifier) resting(topic string) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.rests[topic]; r != nil && time.Now().Before(r.until) {
		return r.until
	}
	return time.Time{}
}

func (n *notifier) rested(topic string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.rests, topic)
}

// tire leaves a topic alone for a while, longer each time, and holds its backlog in the partition against the bound.
func (n *notifier) tire(ctx context.Context, partition, topic string, why error) (until time.Time, err error) {
	if ctx.Err() != nil {
		return until, ctx.Err()
	}
	now := time.Now()
	n.mu.Lock()
	r := n.rests[topic]
	if r == nil {
		r = &rest{trimmed: map[string]time.Time{}}
		n.rests[topic] = r
	}
	r.last = min(max(2*r.last, restFirst), restMost)
	r.until = now.Add(r.last)
	until = r.until
	trim := now.Sub(r.trimmed[partition]) > restMost
	if trim {
		r.trimmed[partition] = now
	}
	n.mu.Unlock()
	n.s.log.Log(ctx, slog.LevelInfo, "a topic does not take events", "topic", topic, "again_in", time.Until(until).Round(time.Second), "err", why)
	if !trim {
		return until, nil
	}
	return until, n.trim(ctx, partition, topic)
}

// trim drops the oldest events of a topic in a partition, beyond what may wait, and all that are too old.
func (n *notifier) trim(ctx context.Context, partition, topic string) error {
	total, drop := 0, 0
	now := n.s.o.Now()
	for after := (*bucket.StoredEvent)(nil); ; {
		evs, more, err := n.s.o.Buckets.EventsOf(ctx, partition, topic, after, bucket.MaxListEntries)
		if err != nil {
			return err
		}
		for _, ev := range evs {
			if total++; now.Sub(ev.At) > bucket.EventAge {
				drop++
			}
		}
		if !more || len(evs) == 0 {
			break
		}
		after = &evs[len(evs)-1]
	}
	for drop = max(drop, total-n.s.o.EventBacklog); drop > 0; {
		evs, _, err := n.s.o.Buckets.EventsOf(ctx, partition, topic, nil, min(drop, bucket.MaxListEntries))
		if err != nil || len(evs) == 0 {
			return err
		}
		if err := n.s.o.Buckets.DropEvents(ctx, partition, evs); err != nil {
			return err
		}
		n.s.metrics.events.WithLabelValues("dropped").Add(float64(len(evs)))
		drop -= len(evs)
	}
	return nil
}
