package admin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/client"
	"github.com/cairnstore/cairn/client/bucket"
	"github.com/cairnstore/cairn/internal/api"
	"github.com/cairnstore/cairn/internal/wire"
)

// conditions maps what the object client and its buckets say to what this interface says.
var conditions = []struct{ from, to error }{
	{client.ErrNotFound, api.ErrNotFound},
	{client.ErrExists, api.ErrExists},
	{client.ErrConflict, api.ErrConflict},
	{client.ErrInvalid, api.ErrInvalid},
	{client.ErrNotPermitted, api.ErrNotPermitted},
	{client.ErrUnsupported, api.ErrUnsupported},
	{client.ErrTimeout, api.ErrTimeout},
	{client.ErrTryLater, api.ErrTryLater},
	{client.ErrNoSpace, api.ErrConflict},
	{bucket.ErrNoSuchBucket, api.ErrNotFound},
	{bucket.ErrNoSuchKey, api.ErrNotFound},
	{bucket.ErrBucketExists, api.ErrExists},
	{bucket.ErrBucketNotEmpty, api.ErrConflict},
	{bucket.ErrNoSuchSnapshot, api.ErrNotFound},
	{bucket.ErrSnapshotExists, api.ErrExists},
	{bucket.ErrHasClones, api.ErrConflict},
	{bucket.ErrInvalidName, api.ErrInvalid},
	{bucket.ErrBusy, api.ErrTryLater},
}

// nextSteps is what to do about a condition where the operation has no better advice.
var nextSteps = []struct {
	err  error
	next string
}{
	{api.ErrNoQuorum, "the change may or may not have been made: look, then retry; `cairn mon stat` shows the quorum"},
	{api.ErrTryLater, "retry in a moment"},
	{api.ErrTimeout, "see `cairn status` for what is down, then retry"},
}

// fail turns the error of a backend into the problem the caller gets. notFound
// says how to find out what does exist.
func fail(err error, notFound string) error {
	var we *wire.Error
	if errors.As(err, &we) {
		err = &translated{err, client.ErrorOf(we.Code)} // a daemon said it
	}
	for _, c := range conditions {
		if errors.Is(err, c.from) && !errors.Is(err, c.to) {
			err = &translated{err, c.to}
			break
		}
	}
	next := ""
	if errors.Is(err, api.ErrNotFound) {
		next = notFound
	}
	for _, n := range nextSteps {
		if next == "" && errors.Is(err, n.err) {
			next = n.next
		}
	}
	if strings.Contains(err.Error(), next) {
		next = "" // said already
	}
	return api.NewProblem(err, next)
}

// translated gives an error another condition and leaves its text.
type translated struct{ err, condition error }

func (t *translated) Error() string   { return t.err.Error() }
func (t *translated) Unwrap() []error { return []error{t.err, t.condition} }

// confirmed refuses a destructive request that does not repeat the name of what it destroys.
func confirmed(kind, name, confirm string) error {
	if confirm == name {
		return nil
	}
	return &api.Problem{Status: 403, Title: "Forbidden", Code: api.CodeNotPermitted,
		Detail: fmt.Sprintf("removing %s %q is not confirmed: confirm is %q", kind, name, confirm),
		Next:   fmt.Sprintf("this cannot be undone; if you mean it, repeat the name: confirm=%s", name)}
}

func invalid(next, format string, args ...any) error {
	return api.NewProblem(fmt.Errorf("%w: %s", api.ErrInvalid, fmt.Sprintf(format, args...)), next)
}

func notFound(next, format string, args ...any) error {
	return api.NewProblem(fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), api.ErrNotFound), next)
}
