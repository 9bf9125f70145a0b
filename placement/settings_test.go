package placement

import (
	"sort"
	"strings"
	"testing"
	"time"
)

func TestKnownSettings(t *testing.T) {
	list := KnownSettings()
	if !sort.SliceIsSorted(list, func(i, j int) bool { return list[i].Key < list[j].Key }) {
		t.Error("not sorted by key")
	}
	m := &Map{}
	for _, k := range list {
		for _, v := range []string{k.Default, k.Min, k.Max} {
			if err := CheckSetting(k.Key, v); err != nil {
				t.Errorf("%s: %v", k.Key, err)
			}
		}
		if k.About == "" {
			t.Errorf("%s is not explained", k.Key)
		}
		want, _ := k.parse(k.Default)
		if got := m.value(k.Key, k.Kind); got != want {
			t.Errorf("%s is %v when it is not set, want %v", k.Key, got, want)
		}
	}
}

func TestCheckSetting(t *testing.T) {
	for _, tt := range []struct{ key, value, want string }{
		{"nonsense", "1", "the keys are backfillfull_ratio, chunk_scrub_interval, deep_scrub_interval"},
		{KeyScrubMaxPGs, "0", "want 1 to 64"},
		{KeyScrubMaxPGs, "65", "want 1 to 64"},
		{KeyScrubMaxPGs, "1.5", "is not a number such as 1"},
		{KeyScrubMaxPGs, "", "is not a number"},
		{KeyScrubMaxPGs, "99999999999999999999", "is not a number"},
		{KeyFullRatio, "NaN", "want 0.1 to 0.99"},
		{KeyFullRatio, "+Inf", "want 0.1 to 0.99"},
		{KeyFullRatio, "95%", "is not a ratio such as 0.95"},
		{KeyScrubInterval, "-1h", "want 1s to 365d"},
		{KeyScrubInterval, "366d", "want 1s to 365d"},
		{KeyScrubInterval, "24", "is not a duration such as 1d"},
		{KeyScrubInterval, "-1d", "is not a duration"},
		{KeyScrubInterval, "99999d", "is not a duration"},
	} {
		if err := CheckSetting(tt.key, tt.value); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s=%s: got %v, want %q", tt.key, tt.value, err, tt.want)
		}
	}
}

func TestConfigValues(t *testing.T) {
	m := &Map{Config: []Setting{{KeyFullRatio, "0.5"}, {KeyRecoveryMaxActive, "many"}, {KeyScrubInterval, "3d"}, {KeyScrubMaxPGs, "7"}, {"zz", ""}}}
	if got := m.ConfigNumber(KeyScrubMaxPGs); got != 7 {
		t.Errorf("scrub_max_pgs: got %d, want 7", got)
	}
	if got := m.ConfigRatio(KeyFullRatio); got != 0.5 {
		t.Errorf("full_ratio: got %v, want 0.5", got)
	}
	if got := m.ConfigDuration(KeyScrubInterval); got != 72*time.Hour {
		t.Errorf("scrub_interval: got %v, want 72h", got)
	}
	if got := m.ConfigNumber(KeyRecoveryMaxActive); got != 16 {
		t.Errorf("recovery_max_active: got %d instead of the default 16 for nonsense", got)
	}
}
