package placement

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Keys of the central configuration.
const (
	KeyBackfillFullRatio = "backfillfull_ratio"
	KeyDeepScrubInterval = "deep_scrub_interval"
	KeyFlapLimit         = "osd_flap_limit"
	KeyFullRatio         = "full_ratio"
	KeyNearFullRatio     = "nearfull_ratio"
	KeyOutAfter          = "osd_out_after"
	KeyRecoveryMaxActive = "recovery_max_active"
	KeyRecoveryMaxPGs    = "recovery_max_pgs"
	KeyScrubInterval     = "scrub_interval"
	KeyScrubMaxPGs       = "scrub_max_pgs"
)

// SettingKind is what the value of a setting is.
type SettingKind string

// The kinds.
const (
	KindNumber   SettingKind = "number"   // 0, 16
	KindRatio    SettingKind = "ratio"    // 0.85
	KindDuration SettingKind = "duration" // 90s, 24h, 7d
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
	{KeyDeepScrubInterval, KindDuration, "7d", "1s", "365d", "every PG is scrubbed with its data this often"},
	{KeyFullRatio, KindRatio, "0.95", "0.1", "0.99", "an OSD this full takes no writes that need space"},
	{KeyNearFullRatio, KindRatio, "0.85", "0.1", "0.99", "an OSD this full is warned about"},
	{KeyFlapLimit, KindNumber, "5", "0", "15", "an OSD marked down more often within ten minutes has to wait; 0: never"},
	{KeyOutAfter, KindDuration, "10m", "0s", "365d", "an OSD that is down this long is marked out; 0: never"},
	{KeyRecoveryMaxActive, KindNumber, "16", "1", "1024", "objects an OSD copies to others at a time"},
	{KeyRecoveryMaxPGs, KindNumber, "4", "1", "1024", "PGs an OSD recovers at a time"},
	{KeyScrubInterval, KindDuration, "1d", "1s", "365d", "every PG is scrubbed this often, names, versions and sizes only"},
	{KeyScrubMaxPGs, KindNumber, "1", "1", "64", "PGs an OSD scrubs at a time"},
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

// parse returns a value as a number, durations in nanoseconds.
func (k *KnownSetting) parse(s string) (float64, error) {
	switch k.Kind {
	case KindRatio:
		return strconv.ParseFloat(s, 64)
	case KindDuration:
		d, err := parseDuration(s)
		return float64(d), err
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

// ConfigDuration returns the setting with that key, one of KindDuration, or its default.
func (m *Map) ConfigDuration(key string) time.Duration {
	return time.Duration(m.value(key, KindDuration))
}
