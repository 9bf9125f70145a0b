package bucket

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// Events tell others what happened to objects. Who carries a change out says, by Recording, what is to be told of it; that
// is stored by the very operation that makes the change, beside the entry, and so is told if and only if the change took
// effect. Somebody delivers what is stored, in order of time for each topic and partition, and then drops it; if he dies in
// between it is delivered twice. docs/formats/bucket.md has the records.

// What may have happened to an object.
const (
	Created   = "created"   // put, copied or completed
	Removed   = "removed"   // an object or a version is gone
	Marked    = "marked"    // a delete marker was put over it
	Described = "described" // its tags, list or lock were changed
)

// Happened is a change of an object, as far as it is known when it is about to be made.
type Happened struct {
	What    string
	Key     string
	Version string // NullVersion in a bucket that keeps none
	ETag    string // of what was created or described
	Size    int64
	Time    time.Time // of this process; later changes of a key by one process have later ones
}

// Event is what is to be told to a topic: the document means nothing to this package.
type Event struct {
	Topic string // 1 to MaxTopicBytes bytes without NUL
	Doc   []byte
}

// Limits of events. What is not delivered by then is dropped, the oldest first, by who delivers.
const (
	MaxTopicBytes   = 256
	MaxEventBytes   = 16 << 10
	MaxEventBuckets = 10_000 // that tell of their changes
	EventAge        = 24 * time.Hour
	EventBacklog    = 50_000 // of one topic in one partition
)

// Recorder decides what is told of changes. Events may be asked more than once about one change, of which one is made;
// Recorded is called after it, with the partition that has the events now.
type Recorder interface {
	Events(h Happened) []Event
	Recorded(partition string)
}

type recorderKey struct{}

// Recording returns a context whose changes are told of as r says.
func Recording(ctx context.Context, r Recorder) context.Context {
	return context.WithValue(ctx, recorderKey{}, r)
}

func recorderOf(ctx context.Context) Recorder {
	r, _ := ctx.Value(recorderKey{}).(Recorder)
	return r
}

// announce adds what is to be told of a change to the step.
func (x *step) announce(ctx context.Context, what string, e *bucketpb.Entry) error {
	r := recorderOf(ctx)
	if r == nil {
		return nil
	}
	h := Happened{What: what, Key: x.key, Version: NullVersion, Time: x.now}
	if e != nil {
		h.Version = versionOf(e)
		if what != Removed && !e.Marker {
			o := x.b.object(x.key, e, nil)
			h.ETag, h.Size = o.ETag(), o.Size
		}
	}
	for _, ev := range r.Events(h) {
		if err := checkTopic(ev.Topic); err != nil {
			return err
		}
		if len(ev.Doc) > MaxEventBytes {
			return fmt.Errorf("%w: an event of %d bytes, at most %d", ErrTooLarge, len(ev.Doc), MaxEventBytes)
		}
		x.op.OmapSet(eventKey(ev.Topic, x.now, newID()), wrapDoc(ev.Doc))
		x.recorder = r
	}
	return nil
}

func checkTopic(name string) error {
	if name == "" || len(name) > MaxTopicBytes || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%w: topic %q", ErrInvalidName, name)
	}
	return nil
}

func eventKey(topic string, at time.Time, x id) string {
	return fmt.Sprintf("%c%s\x00%016x%s", kindEvent, topic, max(at.UnixNano(), 0), x)
}

// splitEvent takes apart what eventKey made.
func splitEvent(key string) (topic string, at time.Time, err error) {
	rest, ok := strings.CutPrefix(key, string(kindEvent))
	topic, stamp, nul := strings.Cut(rest, "\x00")
	if !ok || !nul || len(stamp) < 16 {
		return "", time.Time{}, fmt.Errorf("%w: event %q", ErrCorrupt, key)
	}
	ns, err := strconv.ParseInt(stamp[:16], 16, 64)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("%w: event %q", ErrCorrupt, key)
	}
	return topic, time.Unix(0, ns), nil
}

// StoredEvent is an event that waits in a partition.
type StoredEvent struct {
	Topic string
	At    time.Time
	Doc   []byte
	key   string
}

// EventsOf returns the oldest events that wait in a partition for a topic, at most limit of them, behind the one given, nil: from
// the first. None of a partition that is gone.
func (s *Service) EventsOf(ctx context.Context, partition, topic string, after *StoredEvent, limit int) (evs []StoredEvent, more bool, err error) {
	prefix := string(kindEvent) + topic + "\x00"
	from := prefix
	if after != nil {
		from = after.key + "\x00"
	}
	res, err := s.meta.Do(ctx, partition, new(client.Op).OmapList(from, prefixEnd(prefix), limit))
	if errors.Is(err, client.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the events in %s: %w", partition, err)
	}
	for _, kv := range res.Items[0].KVs {
		ev := StoredEvent{key: kv.Key}
		if ev.Topic, ev.At, err = splitEvent(kv.Key); err == nil {
			ev.Doc, err = unwrapDoc(kv.Value)
		}
		if err != nil {
			return nil, false, fmt.Errorf("events in %s: %w", partition, err)
		}
		evs = append(evs, ev)
	}
	return evs, res.Items[0].More, nil
}

// EventTopics returns the topics for which events wait in a partition.
func (s *Service) EventTopics(ctx context.Context, partition string) (topics []string, err error) {
	from := string(kindEvent)
	for {
		res, err := s.meta.Do(ctx, partition, new(client.Op).OmapList(from, prefixEnd(string(kindEvent)), 1))
		if errors.Is(err, client.ErrNotFound) || err == nil && len(res.Items[0].KVs) == 0 {
			return topics, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the events in %s: %w", partition, err)
		}
		topic, _, err := splitEvent(res.Items[0].KVs[0].Key)
		if err != nil {
			return nil, err
		}
		topics = append(topics, topic)
		from = prefixEnd(string(kindEvent) + topic + "\x00")
	}
}

// DropEvents removes events that were delivered, or are given up.
func (s *Service) DropEvents(ctx context.Context, partition string, evs []StoredEvent) error {
	op := new(client.Op).AssertExists()
	for _, ev := range evs {
		op.OmapRm(ev.key)
	}
	_, err := s.meta.Do(ctx, partition, op)
	if errors.Is(err, client.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop events in %s: %w", partition, err)
	}
	return nil
}

// ClaimEvents makes who the one that delivers what a partition has, until a time, unless another one is. A claim is only there
// to save work: two who believe to have it deliver twice.
func (s *Service) ClaimEvents(ctx context.Context, partition, who string, until time.Time) (mine bool, err error) {
	claim := string(kindClaim)
	res, err := s.meta.Do(ctx, partition, new(client.Op).OmapGet(claim))
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim the events in %s: %w", partition, err)
	}
	old := res.Items[0]
	op := new(client.Op).AssertExists()
	if old.Found {
		doc, err := unwrapDoc(old.Data)
		if err != nil {
			return false, fmt.Errorf("claim the events in %s: %w", partition, err)
		}
		stamp, owner, _ := strings.Cut(string(doc), " ")
		ns, err := strconv.ParseInt(stamp, 16, 64)
		if err != nil {
			return false, fmt.Errorf("%w: claim %q in %s", ErrCorrupt, doc, partition)
		}
		if owner != who && s.o.Now().Before(time.Unix(0, ns)) {
			return false, nil
		}
		op.CmpOmap(claim, old.Data)
	} else {
		op.CmpOmapAbsent(claim)
	}
	_, err = s.meta.Do(ctx, partition, op.OmapSet(claim, wrapDoc(fmt.Appendf(nil, "%x %s", until.UnixNano(), who))))
	if errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// topicsObject has the topics, and which buckets tell of their changes.
const topicsObject = "s3.topics"

// MaxTopics bounds the topics of a cluster.
const MaxTopics = 10_000

// Topic returns the description of a topic, nil if there is none; it means nothing to this package.
func (s *Service) Topic(ctx context.Context, name string) ([]byte, error) {
	if err := checkTopic(name); err != nil {
		return nil, nil
	}
	res, err := s.meta.Do(ctx, topicsObject, new(client.Op).OmapGet(omapKey(kindTopic, name)))
	if errors.Is(err, client.ErrNotFound) || err == nil && !res.Items[0].Found {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read topic %q: %w", name, err)
	}
	return unwrapDoc(res.Items[0].Data)
}

// Topics returns all topics.
func (s *Service) Topics(ctx context.Context) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := s.eachTopic(ctx, kindTopic, func(name string, doc []byte) { all[name] = doc })
	return all, err
}

func (s *Service) eachTopic(ctx context.Context, kind byte, f func(name string, doc []byte)) error {
	from := string(kind)
	for {
		res, err := s.meta.Do(ctx, topicsObject, new(client.Op).OmapList(from, prefixEnd(string(kind)), MaxListEntries))
		if errors.Is(err, client.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the topics: %w", err)
		}
		for _, kv := range res.Items[0].KVs {
			doc, err := unwrapDoc(kv.Value)
			if err != nil {
				return fmt.Errorf("topic %q: %w", kv.Key[1:], err)
			}
			f(kv.Key[1:], doc)
			from = kv.Key + "\x00"
		}
		if !res.Items[0].More {
			return nil
		}
	}
}

// SetTopic stores the description of a topic, or removes the topic if that is nil.
func (s *Service) SetTopic(ctx context.Context, name string, doc []byte) error {
	if err := checkTopic(name); err != nil {
		return err
	}
	op := new(client.Op)
	if doc == nil {
		op.OmapRm(omapKey(kindTopic, name))
	} else {
		all, err := s.Topics(ctx)
		if err != nil {
			return err
		}
		if _, there := all[name]; !there && len(all) >= MaxTopics {
			return fmt.Errorf("make topic %q: %w: there are %d topics already", name, ErrTooLarge, MaxTopics)
		}
		if len(doc) > MaxEventBytes {
			return fmt.Errorf("make topic %q: %w: %d bytes", name, ErrTooLarge, len(doc))
		}
		op.Create(false).OmapSet(omapKey(kindTopic, name), wrapDoc(doc))
	}
	if _, err := s.meta.Do(ctx, topicsObject, op); err != nil && !(doc == nil && errors.Is(err, client.ErrNotFound)) {
		return fmt.Errorf("store topic %q: %w", name, err)
	}
	return nil
}

// Notify notes that the bucket tells of its changes from now on, so that who delivers finds what waits there.
func (b *Bucket) Notify(ctx context.Context) error {
	x, err := b.id()
	if err != nil {
		return err
	}
	n := 0
	if err := b.svc.eachTopic(ctx, kindNotifies, func(string, []byte) { n++ }); err != nil {
		return err
	}
	if n >= MaxEventBuckets {
		return nameErr("tell of the changes of", b.name, fmt.Errorf("%w: %d buckets do so already", ErrTooLarge, n))
	}
	_, err = b.svc.meta.Do(ctx, topicsObject, new(client.Op).Create(false).OmapSet(omapKey(kindNotifies, x.String()), wrapDoc([]byte(b.name))))
	if err != nil {
		return nameErr("tell of the changes of", b.name, err)
	}
	return nil
}

// EventPartitions calls f with all partitions in which events may wait, those of deleted buckets too. A bucket that cannot
// be read does not keep it from the others.
func (s *Service) EventPartitions(ctx context.Context, f func(partition string) error) error {
	type known struct{ x, name string }
	var all []known
	if err := s.eachTopic(ctx, kindNotifies, func(x string, doc []byte) { all = append(all, known{x, string(doc)}) }); err != nil {
		return err
	}
	var errs []error
	for _, k := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		x, ok := parseID(k.x)
		if !ok {
			errs = append(errs, fmt.Errorf("%w: bucket %q among those that tell of changes", ErrCorrupt, k.x))
			continue
		}
		b := &Bucket{svc: s, name: k.name}
		b.rec.Store(&record{Bucket: &bucketpb.Bucket{Id: slices.Clone(x[:]), Name: k.name}})
		err := b.walk(ctx, x, func(p *partition) error { return f(p.object) })
		if errors.Is(err, errGone) {
			_, err = s.meta.Do(ctx, topicsObject, new(client.Op).OmapRm(omapKey(kindNotifies, hex.EncodeToString(x[:]))))
		}
		if err != nil && len(errs) < 10 {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// waiting reports whether events wait in a partition.
func (s *Service) waiting(ctx context.Context, partition string) (bool, error) {
	res, err := s.meta.Do(ctx, partition, new(client.Op).OmapList(string(kindEvent), prefixEnd(string(kindEvent)), 1))
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	return err == nil && len(res.Items[0].KVs) > 0, err
}
