package chunkcare

import (
	"time"

	"github.com/cairnstore/cairn/placement"
)

// SettingsOf reads the central configuration.
func SettingsOf(m *placement.Map) Settings {
	return Settings{
		GCInterval: 10 * time.Minute, OutboxEvery: 10 * time.Second, OrphanAge: time.Hour, VoidAge: 24 * time.Hour,
		LightEvery: 24 * time.Hour, DeepEvery: 7 * 24 * time.Hour,
	}
}
