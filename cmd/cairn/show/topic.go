package show

import (
	"io"
	"time"
)

// S3Topic is where events of buckets go.
type S3Topic struct {
	Name     string    `json:"name"`
	Endpoint string    `json:"endpoint"`
	Created  time.Time `json:"created"`
}

// S3Topics prints a table of topics.
func S3Topics(w io.Writer, topics []S3Topic) error {
	t := newTable(column{"TOPIC", left, left}, column{"ENDPOINT", left, left}, column{"CREATED", left, left})
	for _, x := range topics {
		t.add(x.Name, x.Endpoint, stamp(x.Created.Unix()))
	}
	return t.write(w)
}
