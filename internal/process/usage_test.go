package process

import (
	"os"
	"testing"
	"time"
)

// The process works until the system has counted it; then both ways to ask must agree.
func TestUsage(t *testing.T) {
	before, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	var after Usage
	for after.CPU() < before.CPU()+50*time.Millisecond {
		for i := range 1 << 20 {
			sum += i * sum
		}
		if after, err = Self(); err != nil {
			t.Fatal(err)
		}
	}
	if after.Resident < 1<<20 || after.Peak < after.Resident/2 {
		t.Errorf("memory: got %d bytes now, %d at most", after.Resident, after.Peak)
	}
	other, err := Of(os.Getpid())
	if err != nil || other.CPU() < before.CPU() || other.Resident < 1<<20 {
		t.Errorf("asked by number: got %+v, %v; want at least %+v", other, err, before)
	}
	if got := FromPerf(after.Perf()); got != after {
		t.Errorf("over the wire: got %+v, want %+v", got, after)
	}
	if _, err := Of(1 << 30); err == nil {
		t.Error("a process that does not exist has used something")
	}
	_ = sum
}
