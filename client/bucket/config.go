package bucket

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/client"
)

// MaxConfigBytes bounds one configuration document of a bucket.
const MaxConfigBytes = 64 << 10

// configAttr begins the names of the attributes of a bucket's root that hold its
// configuration documents; docs/formats/bucket.md.
const configAttr = "cfg."

// All documents of a bucket are read together: these bound their number and their bytes.
const (
	maxConfigs     = 64
	maxConfigTotal = 512 << 10
)

// Config is what a bucket is configured to do, as of one moment: documents by
// name, which mean nothing to this package. It is not changed once it is made.
type Config struct {
	docs map[string][]byte
	read time.Time

	mu     sync.Mutex // guards below
	parsed map[string]parsedConfig
}

type parsedConfig struct {
	value any
	err   error
}

// Doc returns a document, nil if the bucket has none of that name. The caller
// must not change it.
func (c *Config) Doc(name string) []byte { return c.docs[name] }

// Names returns the names of all documents, sorted.
func (c *Config) Names() []string { return slices.Sorted(maps.Keys(c.docs)) }

// Parsed returns what parse makes of a document, and remembers it: parse is called
// once for each state of the configuration, never for a document that is not
// there: then the value is nil.
func (c *Config) Parsed(name string, parse func(doc []byte) (any, error)) (any, error) {
	doc := c.docs[name]
	if doc == nil {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.parsed[name]
	if !ok {
		p.value, p.err = parse(doc)
		if c.parsed == nil {
			c.parsed = map[string]parsedConfig{}
		}
		c.parsed[name] = p
	}
	return p.value, p.err
}

// Config returns the bucket's configuration. What this process changed is seen at
// once, what others changed within ten seconds.
func (b *Bucket) Config(ctx context.Context) (*Config, error) {
	x, err := b.id()
	if err != nil {
		return nil, err
	}
	v := b.svc.view(x)
	v.mu.Lock()
	c, began := v.config, v.configs
	v.mu.Unlock()
	if c != nil && b.svc.o.Now().Sub(c.read) <= settingsAge {
		return c, nil
	}
	c, err = b.readConfig(ctx, x)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.configs == began { // else it was changed meanwhile, and this may be the state before
		v.config = c
	}
	return c, nil
}

func (b *Bucket) readConfig(ctx context.Context, x id) (*Config, error) {
	for try := 0; ; try++ {
		c := &Config{docs: map[string][]byte{}, read: b.svc.o.Now()}
		res, err := b.svc.meta.Do(ctx, rootObject(x), new(client.Op).GetAttrs())
		switch {
		case errors.Is(err, client.ErrNotFound) && try == 0:
			if err := b.refresh(ctx); err != nil {
				return nil, err
			}
			if x, err = b.id(); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, nameErr("read the configuration of", b.name, err)
		}
		for _, kv := range res.Items[0].KVs {
			name, ok := strings.CutPrefix(kv.Key, configAttr)
			if !ok {
				continue
			}
			doc, err := unwrapDoc(kv.Value)
			if err != nil {
				return nil, nameErr("read the configuration "+name+" of", b.name, err)
			}
			c.docs[name] = doc
		}
		return c, nil
	}
}

// wrapDoc puts the format's byte before a document.
func wrapDoc(doc []byte) []byte { return append([]byte{Format}, doc...) }

func unwrapDoc(raw []byte) ([]byte, error) {
	switch {
	case len(raw) == 0 || raw[0] == 0:
		return nil, fmt.Errorf("%w: a document without a format", ErrCorrupt)
	case raw[0] > Format:
		return nil, fmt.Errorf("%w: a document of format %d, this version knows %d", ErrNewerFormat, raw[0], Format)
	}
	return raw[1:], nil
}

// SetConfig stores documents of the bucket's configuration and removes those that
// are nil, all at once.
func (b *Bucket) SetConfig(ctx context.Context, docs map[string][]byte) error {
	what := strings.Join(slices.Sorted(maps.Keys(docs)), ", ")
	for name, doc := range docs {
		switch {
		case name == "" || len(name) > 64:
			return nameErr("configure", b.name, fmt.Errorf("%w: a document's name of %d bytes", ErrInvalidName, len(name)))
		case len(doc) > MaxConfigBytes:
			return nameErr("set "+name+" of", b.name, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(doc), MaxConfigBytes))
		}
	}
	now, err := b.Config(ctx)
	if err != nil {
		return err
	}
	x, err := b.id()
	if err != nil {
		return err
	}
	op, after := new(client.Op).AssertExists(), maps.Clone(now.docs)
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		if doc := docs[name]; doc != nil {
			op.SetAttr(configAttr+name, wrapDoc(doc))
		} else {
			op.RmAttr(configAttr + name)
		}
		after[name] = docs[name]
	}
	total := 0
	for _, doc := range after {
		total += len(doc)
	}
	if len(after) > maxConfigs || total > maxConfigTotal {
		return nameErr("set "+what+" of", b.name, fmt.Errorf("%w: more than %d documents, or %d bytes in all", ErrTooLarge, maxConfigs, maxConfigTotal))
	}
	v := b.svc.view(x)
	forget := func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.config = nil
		v.configs++
	}
	forget()
	defer forget() // a read that began meanwhile may have either state
	if _, err := b.svc.meta.Do(ctx, rootObject(x), op); errors.Is(err, client.ErrNotFound) {
		if err := b.refresh(ctx); err != nil {
			return err
		}
		return nameErr("set "+what+" of", b.name, ErrBusy)
	} else if err != nil {
		return nameErr("set "+what+" of", b.name, err)
	}
	return nil
}
