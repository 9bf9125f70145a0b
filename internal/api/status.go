package api

// Status is everything an administrator wants to see first. Field names follow
// Ceph's where the thing is the same.
type Status struct {
	FSID          string     `json:"fsid" doc:"Identity of the cluster"`
	Health        Health     `json:"health"`
	ElectionEpoch uint64     `json:"election_epoch" doc:"Raft term of the leading monitor"`
	Quorum        []int      `json:"quorum" doc:"Ranks of the monitors in quorum"`
	QuorumNames   []string   `json:"quorum_names"`
	QuorumAge     int64      `json:"quorum_age" doc:"Seconds since the leader was elected"`
	MonMap        MonSummary `json:"monmap"`
	OSDMap        OSDStat    `json:"osdmap"`
	PGMap         PGSummary  `json:"pgmap"`
	Services      []Service  `json:"services" doc:"Gateways heard of lately, sorted by kind and name"`
	Progress      []Progress `json:"progress_events" doc:"Long work under way, oldest first"`
	Now           int64      `json:"now" doc:"The monitor's clock, unix seconds"`
}

// MonSummary counts the monitors.
type MonSummary struct {
	Epoch       uint64   `json:"epoch"`
	NumMons     int      `json:"num_mons"`
	OutOfQuorum []string `json:"out_of_quorum"`
}

// Service is a gateway.
type Service struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Addr     string `json:"addr"`
	LastSeen int64  `json:"last_seen" doc:"Unix seconds"`
}

// MonStat describes the monitors and their quorum.
type MonStat struct {
	Epoch         uint64     `json:"epoch"`
	NumMons       int        `json:"num_mons"`
	Leader        string     `json:"leader" doc:"Empty while there is no quorum"`
	LeaderSince   int64      `json:"leader_since" doc:"Unix seconds, 0 if there is no leader"`
	ElectionEpoch uint64     `json:"election_epoch"`
	Answered      string     `json:"answered_by" doc:"The monitor that answered"`
	Quorum        []MonRank  `json:"quorum"`
	Mons          []MonState `json:"mons"`
}

// MonRank is a monitor by rank: its position in the order of names.
type MonRank struct {
	Rank int    `json:"rank"`
	Name string `json:"name"`
}

// MonState is one monitor.
type MonState struct {
	Rank      int    `json:"rank"`
	Name      string `json:"name"`
	Addr      string `json:"addr" doc:"Messenger address"`
	RaftAddr  string `json:"raft_addr"`
	AdminAddr string `json:"admin_addr"`
	InQuorum  bool   `json:"in_quorum"`
}

// StateCount counts the PGs in one state.
type StateCount struct {
	State string `json:"state_name"`
	Count int    `json:"count"`
}

// PGSummary sums all PGs, the raw space of all OSDs and their traffic.
type PGSummary struct {
	ByState []StateCount `json:"pgs_by_state" doc:"Most frequent first"`
	PGs     int          `json:"num_pgs"`
	Pools   int          `json:"num_pools"`
	Objects int64        `json:"num_objects"`
	Copies  int64        `json:"num_object_copies" doc:"Objects times the copies they should have"`
	Bytes   int64        `json:"data_bytes"`
	Used    int64        `json:"bytes_used"`
	Avail   int64        `json:"bytes_avail"`
	Total   int64        `json:"bytes_total"`

	Degraded  int64 `json:"degraded_objects" doc:"Object copies that are missing"`
	Misplaced int64 `json:"misplaced_objects" doc:"Object copies that are not where they should be"`
	Unfound   int64 `json:"unfound_objects"`

	DegradedRatio  float64 `json:"degraded_ratio"`
	MisplacedRatio float64 `json:"misplaced_ratio"`
	UnfoundRatio   float64 `json:"unfound_ratio"`
	InactiveRatio  float64 `json:"inactive_pgs_ratio" doc:"Share of PGs that are known and not active"`
	UnknownRatio   float64 `json:"unknown_pgs_ratio"`

	ReadBytes         float64 `json:"read_bytes_sec"`
	WriteBytes        float64 `json:"write_bytes_sec"`
	ReadOps           float64 `json:"read_op_per_sec"`
	WriteOps          float64 `json:"write_op_per_sec"`
	RecoveringBytes   float64 `json:"recovering_bytes_per_sec"`
	RecoveringObjects float64 `json:"recovering_objects_per_sec"`
}

// PG is one placement group as the monitors see it.
type PG struct {
	PGID          string `json:"pgid"`
	Pool          string `json:"pool"`
	State         string `json:"state" doc:"Ceph's words joined by +, such as active+clean"`
	Up            []int  `json:"up" doc:"Target OSDs that are up"`
	UpPrimary     int    `json:"up_primary" doc:"-1 if there is none"`
	Acting        []int  `json:"acting" doc:"The in-sync set, primary first"`
	ActingPrimary int    `json:"acting_primary" doc:"-1 if there is none"`
	Term          uint32 `json:"term"`
	Version       string `json:"version" doc:"Head of the PG's log, term'sequence"`
	Objects       int64  `json:"objects"`
	Records       int64  `json:"records" doc:"Those of the objects that the cluster keeps for itself: entries of the chunk index and the like"`
	Bytes         int64  `json:"bytes"`
	OmapKeys      int64  `json:"omap_keys"`
	LogEntries    uint32 `json:"log_entries"`
	Degraded      int64  `json:"degraded"`
	Misplaced     int64  `json:"misplaced"`
	Unfound       int64  `json:"unfound"`
	ToRecover     int64  `json:"objects_to_recover" doc:"Objects that its learners still need, or that are still to be compared; an estimate"`
	Recovered     int64  `json:"objects_recovered" doc:"Objects its learners have got since they began"`
	ScrubErrors   uint64 `json:"scrub_errors" doc:"Damaged copies that scrubs found and that are not repaired"`
	LastScrub     int64  `json:"last_scrub" doc:"Unix seconds when the last scrub that ended had begun, 0: never"`
	LastDeepScrub int64  `json:"last_deep_scrub" doc:"The same for deep scrubs"`
	Waiting       string `json:"waiting,omitempty" doc:"Whom or what the PG waits for"`
	Reported      int64  `json:"reported" doc:"Unix seconds of the report this is from, 0 if there is none"`
}

// DF is the space of the cluster and of its pools.
type DF struct {
	Stats   DFStats            `json:"stats"`
	ByClass map[string]DFStats `json:"stats_by_class"`
	Pools   []DFPool           `json:"pools"`
}

// DFStats is raw space.
type DFStats struct {
	Total     int64   `json:"total_bytes"`
	Avail     int64   `json:"total_avail_bytes"`
	Used      int64   `json:"total_used_bytes" doc:"Data and omap as allocated, without the stores' own needs"`
	UsedRaw   int64   `json:"total_used_raw_bytes" doc:"Everything that is not available"`
	UsedRatio float64 `json:"total_used_raw_ratio"`
	OSDs      int     `json:"num_osds"`
}

// DFPool is the space of one pool.
type DFPool struct {
	ID    uint32      `json:"id"`
	Name  string      `json:"name"`
	PGs   int         `json:"pg_num"`
	Stats DFPoolStats `json:"stats"`
}

// DFPoolStats is the space of one pool.
type DFPoolStats struct {
	Stored     int64   `json:"stored" doc:"Bytes as users see them"`
	Objects    int64   `json:"objects"`
	Used       int64   `json:"bytes_used" doc:"Bytes of all copies and shards; of a pool with chunks an estimate, good if it is the only one"`
	Percent    float64 `json:"percent_used" doc:"Share of the space the pool could have, 0 to 1"`
	MaxAvail   int64   `json:"max_avail" doc:"Bytes that could still be stored before the fullest OSD of the pool is full"`
	Shards     int64   `json:"shards" doc:"Shards of chunks on all OSDs"`
	ShardBytes int64   `json:"shard_bytes" doc:"Their bytes"`
}
