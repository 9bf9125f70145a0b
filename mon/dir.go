package mon

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/cairnstore/cairn/placement"
)

// dirFormat is the version of the directory's layout (docs/formats/mon.md).
const dirFormat = 1

const (
	identityFile = "monitor.json"
	raftFile     = "raft.db"
)

// identity is the content of monitor.json: whose directory this is.
type identity struct {
	Format  int    `json:"format"`
	Name    string `json:"name"`
	Cluster string `json:"cluster,omitempty"` // 32 hexadecimal digits; empty until it is known
	Joined  bool   `json:"joined"`            // the cluster's map has had this monitor

	// The monitors of the newest map it had. Without its log, which is only applied
	// when there is a leader, it would not know whom to tell a new address.
	Mons []placement.Mon `json:"mons,omitempty"`
}

func (id *identity) cluster() (u placement.UUID, err error) {
	if id.Cluster == "" {
		return u, nil
	}
	b, err := hex.DecodeString(id.Cluster)
	if err != nil || len(b) != len(u) {
		return u, fmt.Errorf("cluster %q is not 32 hexadecimal digits", id.Cluster)
	}
	copy(u[:], b)
	return u, nil
}

// dir is a monitor's directory, opened and locked.
type dir struct {
	path  string
	id    identity
	store *raftboltdb.BoltStore
}

// openDir opens or makes the directory of monitor name. want is the cluster it
// must belong to, zero for any.
func openDir(path, name string, want placement.UUID) (*dir, error) {
	d := &dir{path: path}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, dirError(path, "make the directory", err)
	}
	b, err := os.ReadFile(filepath.Join(path, identityFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := d.checkEmpty(); err != nil {
			return nil, err
		}
		d.id = identity{Format: dirFormat, Name: name}
	case err != nil:
		return nil, dirError(path, "read "+identityFile, err)
	default:
		if err := d.checkIdentity(b, name, want); err != nil {
			return nil, err
		}
	}
	// Written every time: this finds a full or read-only file system now, with a
	// clear error, and not at the first change.
	if err := d.writeIdentity(); err != nil {
		return nil, err
	}
	d.store, err = raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(path, raftFile),
		BoltOptions: &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType},
	})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("monitor directory %s is in use by another process; stop that one first", path)
	}
	if err != nil {
		return nil, dirError(path, "open "+raftFile, err)
	}
	return d, nil
}

// checkEmpty refuses to settle in a directory that somebody else uses.
func (d *dir) checkEmpty() error {
	list, err := os.ReadDir(d.path)
	if err != nil {
		return dirError(d.path, "list the directory", err)
	}
	for _, e := range list {
		if e.Name() != "lost+found" && e.Name() != identityFile+".new" {
			return fmt.Errorf("directory %s has no %s but is not empty (%s): it is not a monitor's; give an empty one", d.path, identityFile, e.Name())
		}
	}
	return nil
}

func (d *dir) checkIdentity(b []byte, name string, want placement.UUID) error {
	if err := json.Unmarshal(b, &d.id); err != nil {
		return fmt.Errorf("monitor directory %s: %s is damaged: %w: restore it, or remove the directory and join the cluster anew", d.path, identityFile, err)
	}
	if d.id.Format > dirFormat {
		return fmt.Errorf("monitor directory %s has format %d, this program knows formats up to %d: start it with the newer version", d.path, d.id.Format, dirFormat)
	}
	if d.id.Format < 1 {
		return fmt.Errorf("monitor directory %s: %s has format %d: it is damaged; restore it, or remove the directory and join the cluster anew", d.path, identityFile, d.id.Format)
	}
	if d.id.Name != name {
		return fmt.Errorf("monitor directory %s belongs to monitor %s, not %s: give the right directory or name", d.path, d.id.Name, name)
	}
	have, err := d.id.cluster()
	if err != nil {
		return fmt.Errorf("monitor directory %s: %s: %w", d.path, identityFile, err)
	}
	if !have.IsZero() && !want.IsZero() && have != want {
		return fmt.Errorf("monitor directory %s belongs to cluster %v, not %v: give an empty directory to join the other cluster", d.path, have, want)
	}
	return nil
}

// writeIdentity replaces monitor.json.
func (d *dir) writeIdentity() error {
	b, err := json.MarshalIndent(d.id, "", "  ")
	if err != nil {
		return fmt.Errorf("monitor directory %s: encode %s: %w", d.path, identityFile, err)
	}
	tmp := filepath.Join(d.path, identityFile+".new")
	if err := writeSynced(tmp, append(b, '\n')); err != nil {
		return dirError(d.path, "write "+identityFile, err)
	}
	if err := os.Rename(tmp, filepath.Join(d.path, identityFile)); err != nil {
		return dirError(d.path, "replace "+identityFile, err)
	}
	if err := syncDir(d.path); err != nil {
		return dirError(d.path, "sync the directory", err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// remember writes down what the map says about the cluster and its monitors, if
// it is news.
func (d *dir) remember(m *placement.Map) error {
	text := hex.EncodeToString(m.Cluster[:])
	if d.id.Cluster != "" && d.id.Cluster != text {
		have, _ := d.id.cluster()
		return fmt.Errorf("monitor directory %s belongs to cluster %v, but its log is of cluster %v: it is damaged; remove it and join anew", d.path, have, m.Cluster)
	}
	joined := d.id.Joined || listed(m, d.id.Name)
	if d.id.Cluster == text && d.id.Joined == joined && slices.Equal(d.id.Mons, m.Mons) {
		return nil
	}
	d.id.Cluster, d.id.Joined, d.id.Mons = text, joined, m.Mons
	return d.writeIdentity()
}

func (d *dir) close() error {
	if err := d.store.Close(); err != nil {
		return fmt.Errorf("close %s: %w", filepath.Join(d.path, raftFile), err)
	}
	return nil
}

// dirError adds the remedy to the usual troubles of a directory.
func dirError(path, what string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = ": the file system is full; free some space (a monitor needs about 1 GiB)"
	case errors.Is(err, syscall.EROFS):
		hint = ": the file system is read-only; check the disk and mount it for writing"
	case errors.Is(err, fs.ErrPermission):
		hint = ": give the monitor's user write access to it"
	}
	return fmt.Errorf("monitor directory %s: %s: %w%s", path, what, err, hint)
}
