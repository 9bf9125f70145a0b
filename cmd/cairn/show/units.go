package show

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes prints a size in binary units, with as many decimals as fit a column of
// seven characters: 512 B, 1.3 KiB, 872 MiB.
func Bytes(n int64) string {
	return scaled(n, 1024, []string{" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"})
}

// Count prints a number in decimal units: 191, 5.32k, 2M.
func Count(n int64) string {
	return scaled(n, 1000, []string{"", "k", "M", "G", "T", "P", "E"})
}

func scaled(n, base int64, units []string) string {
	if n < 0 {
		return "-" + scaled(-max(n, -math.MaxInt64), base, units)
	}
	unit, mult := 0, int64(1)
	for whole := n; whole >= base && unit < len(units)-1; unit++ {
		whole /= base
		mult *= base
	}
	if n%mult == 0 {
		return strconv.FormatInt(n/mult, 10) + units[unit]
	}
	var s string
	for prec := 2; prec >= 0; prec-- {
		s = strconv.FormatFloat(float64(n)/float64(mult), 'f', prec, 64) + units[unit]
		if len(s) <= 7 {
			break
		}
	}
	return s
}

// Age prints a duration in one unit, the one that gives a telling number: 118s, 2m, 5h.
func Age(d time.Duration) string {
	sec := int64(max(d, 0) / time.Second)
	minutes, hours, days := sec/60, sec/3600, sec/86400
	switch {
	case sec < 120:
		return fmt.Sprintf("%ds", sec)
	case minutes < 120:
		return fmt.Sprintf("%dm", minutes)
	case hours < 48:
		return fmt.Sprintf("%dh", hours)
	case days < 14:
		return fmt.Sprintf("%dd", days)
	case days < 7*12:
		return fmt.Sprintf("%dw", days/7)
	case days < 365*2:
		return fmt.Sprintf("%dM", days/30)
	}
	return fmt.Sprintf("%dy", days/365)
}

// since prints " (since AGE)", or nothing if the moment is not known.
func since(unix, now int64) string {
	if unix <= 0 {
		return ""
	}
	return " (since " + Age(time.Duration(now-unix)*time.Second) + ")"
}

// weight prints a CRUSH weight or a reweight.
func weight(w float64) string {
	switch {
	case w < -0.01:
		return "-"
	case w < 0.000001:
		return "0"
	}
	return strconv.FormatFloat(w, 'f', 5, 64)
}

// low prints a number of low precision, such as a utilization.
func low(v float64) string {
	switch {
	case v < -0.01:
		return "-"
	case v < 0.001:
		return "0"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// percent prints a ratio as percentage, without sign.
func percent(ratio float64) string {
	if p := 100 * ratio; p >= 0.01 {
		return strconv.FormatFloat(p, 'f', 2, 64)
	}
	return "0"
}

// list prints ids as [1,2,0].
func list(ids []int) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = strconv.Itoa(id)
	}
	return "[" + strings.Join(parts, ",") + "]"
}
