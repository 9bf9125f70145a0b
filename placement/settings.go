package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Keys of the central configuration.
const (
	KeyBackfillFullRatio = "backfillfull_ratio"
	KeyChunkScrub        = "chunk_scrub_interval"
	KeyDeepScrubInterval = "deep_scrub_interval"
	KeyFlapLimit         = "osd_flap_limit"
	KeyFullRatio         = "full_ratio"
	KeyGCInterval        = "gc_interval"
	KeyGCOrphanAge       = "gc_orphan_age"
	KeyNearFullRatio     = "nearfull_ratio"
	KeyOutAfter          = "osd_out_after"
	KeyReadErrorLimit    = "osd_read_error_limit"
	KeyReadErrorOut      = "osd_read_error_out"
	KeySlowAvoidPrimary  = "osd_slow_avoid_primary"
	KeySlowFactor        = "osd_slow_factor"
	KeySlowFloor         = "osd_slow_floor"
	KeySlowMoveCopies    = "osd_slow_move_copies"
	KeyRecoveryMaxActive = "recovery_max_active"
	KeyRecoveryMaxPGs    = "recovery_max_pgs"
	KeyScrubInterval     = "scrub_interval"
	KeyScrubMaxPGs       = "scrub_max_pgs"
	KeySettleAge         = "settle_age"
	KeySettleIdle        = "settle_idle"
	KeySettleInterval    = "settle_interval"
	KeySettleRate        = "settle_rate"
	KeySettleSize        = "settle_size"
)

// SettingKind is what the value of a setting is.
type SettingKind string

// The kinds.
const (
	KindNumber   SettingKind = "number"   // 0, 16
	KindRatio    SettingKind = "ratio"    // 0.85
	KindDuration SettingKind = "duration" // 90s, 24h, 7d
	KindSwitch   SettingKind = "switch"   // on, off
)

// KnownSetting describes a key of the central configuration.
type KnownSetting struct {
	Key      string
	Kind     SettingKind
	Default  string
	Min, Max string // what is allowed, both included
	About    string // what it does, for people
}

// knownSettings is sorted by key.
var knownSettings = []KnownSetting{
	{KeyBackfillFullRatio, KindRatio, "0.90", "0.1", "0.99", "an OSD this full takes no copies that move"},
	{KeyChunkScrub, KindDuration, "7d", "1s", "365d", "every chunk and who refers to it is checked this often, with its data"},
	{KeyDeepScrubInterval, KindDuration, "7d", "1s", "365d", "every PG is scrubbed with its data this often"},
	{KeyFullRatio, KindRatio, "0.95", "0.1", "0.99", "an OSD this full takes no writes that need space"},
	{KeyGCInterval, KindDuration, "10m", "1s", "365d", "an epoch of garbage collection: a chunk that nobody refers to is removed two of them later"},
	{KeyGCOrphanAge, KindDuration, "1h", "1s", "365d", "a shard that no chunk has is looked at when it is this old: its write may be under way"},
	{KeyNearFullRatio, KindRatio, "0.85", "0.1", "0.99", "an OSD this full is warned about"},
	{KeyFlapLimit, KindNumber, "5", "0", "15", "an OSD marked down more often within ten minutes has to wait; 0: never"},
	{KeyOutAfter, KindDuration, "10m", "0s", "365d", "an OSD that is down this long is marked out; 0: never"},
	{KeyReadErrorLimit, KindNumber, "10", "0", "1000000", "reads of an OSD's device that failed, or found damage, since it started, from which it is warned about; 0: never"},
	{KeyReadErrorOut, KindSwitch, "off", "off", "on", "an OSD with so many read errors is marked out"},
	{KeySlowAvoidPrimary, KindSwitch, "on", "off", "on", "an OSD with a slow device leads no PG that another member can lead"},
	{KeySlowFactor, KindNumber, "5", "2", "1000", "an OSD whose device takes so many times as long as others of its class is slow"},
	{KeySlowFloor, KindDuration, "2ms", "100us", "1m", "a device whose operations take less than this is not slow, however fast others are"},
	{KeySlowMoveCopies, KindSwitch, "on", "off", "on", "in pools with chunks, what is not in chunks moves from an OSD with a slow device to another"},
	{KeyRecoveryMaxActive, KindNumber, "16", "1", "1024", "objects an OSD copies to others at a time"},
	{KeyRecoveryMaxPGs, KindNumber, "4", "1", "1024", "PGs an OSD recovers at a time"},
	{KeyScrubInterval, KindDuration, "1d", "1s", "365d", "every PG is scrubbed this often, names, versions and sizes only"},
	{KeyScrubMaxPGs, KindNumber, "1", "1", "64", "PGs an OSD scrubs at a time"},
	{KeySettleAge, KindDuration, "0s", "0s", "365d", "an object's own bytes become chunks when they were first seen this long ago, even if it is written; 0: that is no reason"},
	{KeySettleIdle, KindDuration, "1h", "0s", "365d", "an object's own bytes become chunks when it was not written for this long; 0: that is no reason"},
	{KeySettleInterval, KindDuration, "1h", "0s", "365d", "objects of pools with chunks are looked at this often for bytes that may become chunks; 0: only by `cairn pool settle`"},
	{KeySettleRate, KindNumber, "64", "0", "65536", "MiB that an OSD settles in a second at most; 0: as fast as it can"},
	{KeySettleSize, KindNumber, "0", "0", "64", "an object's own bytes become chunks when they are this many MiB, even if it is written; 0: that is no reason"},
}

// KnownSettings returns the keys of the central configuration, sorted.
func KnownSettings() []KnownSetting { return append([]KnownSetting(nil), knownSettings...) }

func known(key string) (KnownSetting, bool) {
	for _, k := range knownSettings {
		if k.Key == key {
			return k, true
		}
	}
	return KnownSetting{}, false
}

// CheckSetting says what is wrong with a setting, or nil.
func CheckSetting(key, value string) error {
	k, ok := known(key)
	if !ok {
		keys := make([]string, len(knownSettings))
		for i := range knownSettings {
			keys[i] = knownSettings[i].Key
		}
		return fmt.Errorf("configuration key %q is not known; the keys are %s", key, strings.Join(keys, ", "))
	}
	v, err := k.parse(value)
	if err != nil {
		return fmt.Errorf("configuration: %s %q is not a %s such as %s", key, value, k.Kind, k.Default)
	}
	low, _ := k.parse(k.Min)
	high, _ := k.parse(k.Max)
	if !(v >= low && v <= high) { // not a number fails too
		return fmt.Errorf("configuration: %s %s; want %s to %s", key, value, k.Min, k.Max)
	}
	return nil
}

// CheckRatios says why a ratio may not be set to a value, or returns nil: an OSD is near full before it is
// too full for backfill, and that before it is full. Were it not so, warnings would come too
// late, or data would move to OSDs that take no writes.
func (m *Map) CheckRatios(key, value string) error {
	steps := []string{KeyNearFullRatio, KeyBackfillFullRatio, KeyFullRatio}
	at := slices.Index(steps, key)
	if at < 0 {
		return nil
	}
	k, _ := known(key)
	v, err := k.parse(value)
	if err != nil {
		return err
	}
	for i, other := range steps {
		is := m.ConfigRatio(other)
		if i < at && is > v || i > at && is < v {
			return fmt.Errorf("configuration: %s %s, but %s is %v; want %s: change that first", key, value, other, is, strings.Join(steps, " <= "))
		}
	}
	return nil
}

// parse returns a value as a number, durations in nanoseconds.
func (k *KnownSetting) parse(s string) (float64, error) {
	switch k.Kind {
	case KindRatio:
		return strconv.ParseFloat(s, 64)
	case KindDuration:
		d, err := parseDuration(s)
		return float64(d), err
	}
	if k.Kind == KindSwitch {
		switch s {
		case "on":
			return 1, nil
		case "off":
			return 0, nil
		}
		return 0, fmt.Errorf("%q is neither on nor off", s)
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return float64(n), err
}

// parseDuration also knows days, as in 7d.
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

// value returns what is configured for a key, else its default.
func (m *Map) value(key string, kind SettingKind) float64 {
	k, ok := known(key)
	if !ok || k.Kind != kind {
		panic(fmt.Sprintf("placement: %q is no known %s", key, kind)) // a slip of the program, whatever the map
	}
	// A map may come from monitors that allow more than this program.
	if s, ok := m.Setting(key); ok && CheckSetting(key, s) == nil {
		v, _ := k.parse(s)
		return v
	}
	v, _ := k.parse(k.Default)
	return v
}

// ConfigNumber returns the setting with that key, one of KindNumber, or its default.
func (m *Map) ConfigNumber(key string) int { return int(m.value(key, KindNumber)) }

// ConfigRatio returns the setting with that key, one of KindRatio, or its default.
func (m *Map) ConfigRatio(key string) float64 { return m.value(key, KindRatio) }

// ConfigSwitch returns whether the setting with that key, one of KindSwitch, is on.
func (m *Map) ConfigSwitch(key string) bool { return m.value(key, KindSwitch) != 0 }

// ConfigDuration returns the setting with that key, one of KindDuration, or its default.
func (m *Map) ConfigDuration(key string) time.Duration {
	return time.Duration(m.value(key, KindDuration))
}
