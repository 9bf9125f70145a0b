package osd

import "testing"

// A write that was sent on a connection which its client has given up since is not carried out.
func TestFence(t *testing.T) {
	var f fence
	for i, tt := range []struct {
		client, conn uint64
		want         bool
	}{
		{7, 3, true}, {8, 4, true}, {7, 3, true},
		{7, 5, true},  // it has a new connection
		{7, 3, false}, // what it had sent before arrives late
		{7, 5, true}, {8, 4, true}, {9, 1, true},
	} {
		if got := f.admit(tt.client, tt.conn); got != tt.want {
			t.Errorf("step %d: client %d on connection %d: got %v, want %v", i, tt.client, tt.conn, got, tt.want)
		}
	}
	// Others come and go; who is heard of now and then is not forgotten.
	for i := range uint64(4 * fenceMax) {
		f.admit(1000+i, 10+i)
		if i%(fenceMax/2) == 0 && (!f.admit(7, 5) || f.admit(7, 3)) {
			t.Fatalf("after %d other clients the fence has forgotten", i)
		}
	}
	if n := len(f.cur) + len(f.prev); n > 2*fenceMax+1 {
		t.Errorf("%d clients remembered", n)
	}
}
