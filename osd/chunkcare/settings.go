package chunkcare

import (
	"time"

	"github.com/cairnstore/cairn/placement"
)

// What the central configuration does not say.
const (
	outboxEvery = 5 * time.Second // and no later than half a GC interval
	voidAge     = 24 * time.Hour
	lightParts  = 7 // of the interval of deep looks
)

// SettingsOf reads the central configuration.
func SettingsOf(m *placement.Map) Settings {
	s := Settings{
		GCInterval: m.ConfigDuration(placement.KeyGCInterval), OrphanAge: m.ConfigDuration(placement.KeyGCOrphanAge),
		OutboxEvery: outboxEvery, VoidAge: voidAge, DeepEvery: m.ConfigDuration(placement.KeyChunkScrub),
	}
	s.OutboxEvery = min(outboxEvery, s.GCInterval/2)
	s.LightEvery = s.DeepEvery / lightParts
	return s
}
