package api

// Pool is the policy of a pool.
type Pool struct {
	ID          uint32 `json:"pool_id"`
	Name        string `json:"pool_name"`
	Type        string `json:"type" doc:"replicated, or erasure if chunks are"`
	Size        uint32 `json:"size" doc:"Copies"`
	MinSize     uint32 `json:"min_size" doc:"In-sync copies below which nothing commits"`
	PGNum       uint32 `json:"pg_num"`
	PGNumTarget uint32 `json:"pg_num_target" doc:"PGs that the pool is getting, a few at a time"`
	Autoscale   string `json:"pg_autoscale_mode" doc:"on: the monitors raise pg_num; off; warn: off, and health says when it should be raised"`
	Rule        int    `json:"crush_rule"`
	RuleName    string `json:"crush_rule_name"`
	Application string `json:"application"`
	LastChange  uint64 `json:"last_change" doc:"Epoch of the map"`
	Chunks      string `json:"chunks" doc:"How new chunks are kept: replica:N, K:1:xor or K:M:rs; none: no chunks are made, and what follows is missing"`
	Dedup       string `json:"dedup,omitempty" doc:"Who shares chunks: tenant, cluster or off"`
	Cut         string `json:"cut,omitempty" doc:"Where chunks end: fixed or content"`
	ChunkSize   uint32 `json:"chunk_size,omitempty" doc:"Bytes; of chunks that content ends the mean"`
	Compression string `json:"compression,omitempty" doc:"none, s2, zstd or lz4; kept where it pays"`
}

// PoolCreate is the body that makes a pool. Zero values mean the defaults.
type PoolCreate struct {
	Name        string `json:"name" minLength:"1" maxLength:"255"`
	Size        uint32 `json:"size,omitempty" maximum:"32" doc:"Copies; default 3, or M+2 if chunks have M parity shards and that is more"`
	MinSize     uint32 `json:"min_size,omitempty" maximum:"32" doc:"Default size - size/2; with chunks of M parity shards 2 if size is M+2"`
	PGNum       uint32 `json:"pg_num,omitempty" maximum:"32768" doc:"Chosen from the number of OSDs by default"`
	Rule        string `json:"crush_rule,omitempty" maxLength:"255" doc:"Name of the CRUSH rule; default replicated_rule"`
	Application string `json:"application,omitempty" maxLength:"128" doc:"What uses it: s3, rbd, nfs or free text"`
	Autoscale   string `json:"pg_autoscale_mode,omitempty" enum:"on,off,warn" doc:"Whether the monitors raise pg_num; default on, or off if pg_num is given"`
	Chunks      string `json:"chunks,omitempty" maxLength:"16" doc:"How chunks are kept: replica:N, K:1:xor or K:M:rs such as 4:2:rs; default none, then nothing of what follows"`
	Dedup       string `json:"dedup,omitempty" enum:"tenant,cluster,off" doc:"Who shares chunks; default tenant"`
	Cut         string `json:"cut,omitempty" enum:"fixed,content" doc:"Where chunks end; default fixed"`
	ChunkSize   uint32 `json:"chunk_size,omitempty" minimum:"8192" maximum:"4194304" doc:"Bytes, a power of two; default 1 MiB"`
	Compression string `json:"compression,omitempty" enum:"none,s2,zstd,lz4" doc:"Default none"`
}

// PoolSetting is the body that changes one setting of a pool.
type PoolSetting struct {
	Value string `json:"value" maxLength:"255"`
}

// PoolSettingKeys are the settings that can be changed.
func PoolSettingKeys() []string {
	return []string{"application", "chunk_size", "chunks", "compression", "crush_rule", "cut", "dedup", "min_size", "pg_autoscale_mode", "pg_num", "size"}
}
