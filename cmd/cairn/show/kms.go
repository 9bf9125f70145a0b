package show

import (
	"io"
	"strconv"

	"github.com/cairnstore/cairn/internal/api"
)

// EncryptionKeys prints a list of master keys.
func EncryptionKeys(w io.Writer, keys []api.EncryptionKey) error {
	t := newTable(column{"KEY", left, left}, column{"STATE", left, left}, column{"VERSIONS", right, right}, column{"CREATED", left, left}, column{"ROTATED", left, left},
		column{"DESCRIPTION", left, left})
	for _, k := range keys {
		t.add(k.ID, k.State, strconv.Itoa(k.Versions), stamp(k.Created), stamp(k.Rotated), k.Description)
	}
	return t.write(w)
}
