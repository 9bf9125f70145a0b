package api

// OSDStat counts the OSDs.
type OSDStat struct {
	Epoch    uint64   `json:"epoch"`
	OSDs     int      `json:"num_osds"`
	Up       int      `json:"num_up_osds"`
	UpSince  int64    `json:"osd_up_since" doc:"Unix seconds since which this many are up (at least)"`
	In       int      `json:"num_in_osds"`
	InSince  int64    `json:"osd_in_since"`
	Remapped int      `json:"num_remapped_pgs"`
	Flags    []string `json:"flags"`
	Now      int64    `json:"now" doc:"The monitor's clock, unix seconds"`
}

// OSDInfo is what map and reports say of one OSD.
type OSDInfo struct {
	ID            int     `json:"id"`
	UUID          string  `json:"uuid"`
	Class         string  `json:"device_class"`
	Host          string  `json:"host"`
	Addr          string  `json:"addr"`
	Up            bool    `json:"up"`
	In            bool    `json:"in"`
	AutoOut       bool    `json:"auto_out" doc:"Marked out by the monitors; comes in again by itself when it boots"`
	Draining      bool    `json:"draining" doc:"An administrator empties it: CRUSH does not choose it, it serves on"`
	Full          string  `json:"full" doc:"ok, nearfull, backfillfull or full"`
	Slow          bool    `json:"slow" doc:"Its device is much slower than others of its class"`
	Reweight      float64 `json:"reweight"`
	CrushWeight   float64 `json:"crush_weight"`
	UpFrom        uint64  `json:"up_from"`
	DownAt        uint64  `json:"down_at"`
	Incarnation   uint64  `json:"incarnation"`
	KB            int64   `json:"kb"`
	KBUsed        int64   `json:"kb_used"`
	KBStored      int64   `json:"kb_stored" doc:"Sizes of the objects, as clients see them"`
	KBAllocated   int64   `json:"kb_allocated" doc:"What the OSD has taken of its device and file system, used or not; 0 if it does not say"`
	KBAvail       int64   `json:"kb_avail"`
	PGs           int     `json:"pgs"`
	CommitLatency int64   `json:"commit_latency_us"`
	Reported      int64   `json:"reported" doc:"Unix seconds of its newest report, 0 if there is none"`
	Device        Device  `json:"device"`
}

// Device is how an OSD's device does. Errors are counted since the OSD started.
type Device struct {
	Latency        []DeviceLatency `json:"latency" doc:"Of the last seconds; kinds of work that there was none of are missing"`
	ReadErrors     uint64          `json:"read_errors" doc:"Reads that failed for good"`
	WriteErrors    uint64          `json:"write_errors" doc:"Writes and syncs that failed"`
	Retries        uint64          `json:"read_retries" doc:"Reads that were good only when tried again"`
	ChecksumErrors uint64          `json:"checksum_errors" doc:"Blocks that were not what had been written"`
	Discarded      uint64          `json:"discarded_bytes" doc:"Free room that the device was told of"`
	DiscardErrors  uint64          `json:"discard_errors" doc:"Discards that failed"`
	Stalled        int64           `json:"stalled_us" doc:"How long the oldest operation under way has been waiting"`
}

// DeviceLatency is how long one kind of work took; that of 256 KiB of it, if operations are larger.
type DeviceLatency struct {
	Op    string `json:"op" enum:"read,journal,write,sync"`
	Count uint64 `json:"count"`
	P50   int64  `json:"p50_us"`
	P99   int64  `json:"p99_us"`
}

// OSDTree is the CRUSH hierarchy, depth first, with the state of the OSDs.
type OSDTree struct {
	Nodes []TreeNode `json:"nodes"`
	Stray []TreeNode `json:"stray" doc:"OSDs that are not in the CRUSH map"`
}

// TreeNode is a bucket or an OSD in the hierarchy.
type TreeNode struct {
	ID              int     `json:"id"`
	Class           string  `json:"device_class,omitempty"`
	Name            string  `json:"name"`
	Type            string  `json:"type"`
	TypeID          int     `json:"type_id"`
	CrushWeight     float64 `json:"crush_weight"`
	Depth           int     `json:"depth"`
	Children        []int   `json:"children,omitempty"`
	Exists          int     `json:"exists,omitempty" doc:"1 for an OSD the map knows"`
	Status          string  `json:"status,omitempty" doc:"up or down; OSDs only"`
	Reweight        float64 `json:"reweight"`
	PrimaryAffinity float64 `json:"primary_affinity,omitempty" doc:"0 for an OSD with a slow device that leads only PGs which no other can lead, else 1"`
}

// IsOSD reports whether the node is an OSD.
func (n *TreeNode) IsOSD() bool { return n.ID >= 0 }

// OSDDF is the space of the OSDs along the CRUSH hierarchy.
type OSDDF struct {
	Nodes   []DFNode  `json:"nodes"`
	Stray   []DFNode  `json:"stray"`
	Summary DFSummary `json:"summary"`
}

// DFNode is the space of a bucket or an OSD.
type DFNode struct {
	TreeNode
	KB          int64   `json:"kb"`
	KBUsed      int64   `json:"kb_used"`
	KBData      int64   `json:"kb_used_data"`
	KBOmap      int64   `json:"kb_used_omap"`
	KBMeta      int64   `json:"kb_used_meta"`
	KBAvail     int64   `json:"kb_avail"`
	KBStored    int64   `json:"kb_stored" doc:"Sizes of the objects, as clients see them"`
	KBAllocated int64   `json:"kb_allocated" doc:"What the OSDs have taken of their devices and file systems, used or not; 0 if they do not say"`
	Utilization float64 `json:"utilization" doc:"Percent"`
	Var         float64 `json:"var" doc:"Utilization divided by the cluster's average"`
	PGs         int     `json:"pgs"`
}

// DFSummary sums all OSDs.
type DFSummary struct {
	KB          int64   `json:"total_kb"`
	KBUsed      int64   `json:"total_kb_used"`
	KBData      int64   `json:"total_kb_used_data"`
	KBOmap      int64   `json:"total_kb_used_omap"`
	KBMeta      int64   `json:"total_kb_used_meta"`
	KBAvail     int64   `json:"total_kb_avail"`
	KBStored    int64   `json:"total_kb_stored"`
	KBAllocated int64   `json:"total_kb_allocated"`
	Utilization float64 `json:"average_utilization"`
	MinVar      float64 `json:"min_var"`
	MaxVar      float64 `json:"max_var"`
	Dev         float64 `json:"dev" doc:"Standard deviation of the utilization"`
}

// Reweight is the body of a change of an OSD's weight.
type Reweight struct {
	Weight float64 `json:"weight" minimum:"0" maximum:"1" doc:"0 is out, 1 fully in"`
}
