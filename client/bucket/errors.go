package bucket

import (
	"errors"
	"fmt"
)

// Conditions that callers test with errors.Is.
var (
	ErrNoSuchBucket     = errors.New("no such bucket")
	ErrBucketExists     = errors.New("bucket exists")
	ErrBucketNotEmpty   = errors.New("bucket is not empty")
	ErrKeepsDeleted     = fmt.Errorf("%w: it keeps deleted objects that can be brought back", ErrBucketNotEmpty)
	ErrNotKept          = errors.New("no such deleted object is kept")
	ErrNoSuchKey        = errors.New("no such key")
	ErrNoSuchUpload     = errors.New("no such multipart upload")
	ErrPrecondition     = errors.New("precondition failed")
	ErrInvalidName      = errors.New("invalid name")
	ErrInvalidPart      = errors.New("part was not uploaded or has another etag")
	ErrInvalidPartOrder = errors.New("parts are not in ascending order")
	ErrPartTooSmall     = errors.New("part is smaller than the minimum")
	ErrTooLarge         = errors.New("body is larger than allowed")
	ErrObjectSize       = errors.New("the parts do not have the announced size together")
	ErrBodySize         = errors.New("body does not have the announced size")
	ErrDigest           = errors.New("body does not have the announced digest")
	ErrRange            = errors.New("range is not in the object")
	ErrChanged          = errors.New("object was replaced while it was read")
	ErrBusy             = errors.New("another change is in the way, try again")
	ErrNewerFormat      = errors.New("stored by a newer version of cairn")
	ErrCorrupt          = errors.New("stored data makes no sense")
	ErrSealed           = errors.New("the body is sealed: it cannot be read as it is shown here")
	ErrClosed           = errors.New("bucket service is closed")
)

// KeyError is the error of an operation on one key.
type KeyError struct {
	Op, Bucket, Key string
	Err             error
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("%s %q in bucket %q: %v", e.Op, e.Key, e.Bucket, e.Err)
}

// Unwrap returns the cause for errors.Is.
func (e *KeyError) Unwrap() error { return e.Err }

func keyErr(op string, b *Bucket, key string, err error) error {
	if err == nil {
		return nil
	}
	var ke *KeyError
	if errors.As(err, &ke) {
		return err
	}
	return &KeyError{Op: op, Bucket: b.name, Key: key, Err: err}
}

func nameErr(op, name string, err error) error {
	return fmt.Errorf("%s bucket %q: %w", op, name, err)
}

// PartError is an error about one part of an upload that was to be completed.
type PartError struct {
	Number        int
	Size, MinSize int64 // of ErrPartTooSmall
	Err           error
}

func (e *PartError) Error() string {
	if e.MinSize > 0 {
		return fmt.Sprintf("part %d of %d bytes, all but the last need %d: %v", e.Number, e.Size, e.MinSize, e.Err)
	}
	return fmt.Sprintf("part %d: %v", e.Number, e.Err)
}

func (e *PartError) Unwrap() error { return e.Err }
