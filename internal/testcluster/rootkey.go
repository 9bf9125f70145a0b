package testcluster

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// rootKey returns the file with the root key of encryption. It is made once: what was encrypted stays readable.
func (c *Cluster) rootKey() (string, error) {
	file := filepath.Join(c.o.Dir, "s3-root-key")
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	var key [32]byte
	rand.Read(key[:])
	tmp := file + ".new"
	err := os.WriteFile(tmp, []byte(base64.StdEncoding.EncodeToString(key[:])+"\n"), 0o600)
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		return "", fmt.Errorf("embedded cluster: root key of encryption: %w", err)
	}
	return file, nil
}
