package bucket

import (
	"errors"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/client/bucket/bucketpb"
)

// LockMode says who may shorten a retention.
type LockMode = bucketpb.LockMode

// Modes of retention.
const (
	Unlocked   = bucketpb.LockMode_UNLOCKED
	Governance = bucketpb.LockMode_GOVERNANCE // those who may bypass it
	Compliance = bucketpb.LockMode_COMPLIANCE // nobody
)

// Lock keeps a version from being deleted.
type Lock struct {
	Mode  LockMode
	Until time.Time // with a Mode
	Hold  bool      // a legal hold, without an end
}

// Attrs are what is said of a version beside its body. Update changes them.
type Attrs struct {
	Owner      string // "": the bucket's
	ACL        []byte // as the gateway writes it; nil: private
	Tags       map[string]string
	Lock       Lock
	Encryption []byte // how the body is encrypted, as the gateway writes it; nil: it is not
	Class      string // storage class; "": STANDARD
	Redirect   string // of a website
}

// LockedError says why a version cannot be deleted.
type LockedError struct {
	Lock    Lock
	Version string
}

func (e *LockedError) Error() string {
	if e.Lock.Hold {
		return "version " + e.Version + " is under a legal hold"
	}
	return fmt.Sprintf("version %s is retained until %s (%s)", e.Version, e.Lock.Until.UTC().Format(time.RFC3339), e.Lock.Mode)
}

// MarkedError says that what is current under a key is a delete marker; errors.Is
// takes it for ErrNoSuchKey.
type MarkedError struct {
	Version  string
	Modified time.Time
}

func (e *MarkedError) Error() string { return "deleted, by marker " + e.Version }

// Is makes it an ErrNoSuchKey.
func (e *MarkedError) Is(target error) bool { return target == ErrNoSuchKey }

// Conditions of versions that callers test with errors.Is.
var (
	ErrNoSuchVersion = errors.New("no such version")
	ErrMarker        = errors.New("the version is a delete marker")
)

// locked returns a LockedError while an entry must not be discarded.
func locked(e *bucketpb.Entry, now time.Time, bypass bool) error {
	a := e.Attrs
	if a == nil || e.Marker {
		return nil
	}
	kept := a.LockMode != Unlocked && now.UnixNano() < a.LockUntil && !(bypass && a.LockMode == Governance)
	if !a.LegalHold && !kept {
		return nil
	}
	return &LockedError{Lock: lockFrom(a), Version: versionOf(e)}
}

func lockFrom(a *bucketpb.Attrs) Lock {
	l := Lock{Mode: a.LockMode, Hold: a.LegalHold}
	if l.Mode != Unlocked {
		l.Until = time.Unix(0, a.LockUntil)
	}
	return l
}

func attrsFrom(a *bucketpb.Attrs) Attrs {
	if a == nil {
		return Attrs{}
	}
	out := Attrs{Owner: a.Owner, ACL: a.Acl, Lock: lockFrom(a), Encryption: a.Encryption, Class: a.StorageClass, Redirect: a.Redirect}
	if len(a.Tags) > 0 {
		out.Tags = make(map[string]string, len(a.Tags))
		for _, t := range a.Tags {
			out.Tags[t.Name] = t.Value
		}
	}
	return out
}

// attrsTo returns nil for attributes that say nothing: most objects' do.
func attrsTo(a Attrs) (*bucketpb.Attrs, error) {
	out := &bucketpb.Attrs{
		Owner: a.Owner, Acl: a.ACL, LockMode: a.Lock.Mode, LegalHold: a.Lock.Hold, Encryption: a.Encryption, StorageClass: a.Class, Redirect: a.Redirect,
	}
	if a.Lock.Mode != Unlocked {
		out.LockUntil = a.Lock.Until.UnixNano()
	}
	for _, name := range sortedKeys(a.Tags) {
		out.Tags = append(out.Tags, &bucketpb.Pair{Name: name, Value: a.Tags[name]})
	}
	switch n := out.SizeVT(); {
	case n == 0:
		return nil, nil
	case n > MaxHeaderBytes:
		return nil, fmt.Errorf("%w: attributes of %d bytes, at most %d", ErrTooLarge, n, MaxHeaderBytes)
	}
	return out, nil
}
