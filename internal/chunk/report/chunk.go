package report

// Chunk is what the index says of a chunk.
type Chunk struct {
	Chunk       string   `json:"chunk" doc:"Its fingerprint"`
	PGID        string   `json:"pgid" doc:"Of its entry"`
	Generation  string   `json:"generation" doc:"Tells apart the times that it was stored"`
	Bytes       int64    `json:"bytes"`
	Stored      int64    `json:"stored_bytes" doc:"What is left of them after compression"`
	Compression string   `json:"compression"`
	Redundancy  string   `json:"redundancy"`
	ShardBytes  int64    `json:"shard_bytes" doc:"Of each shard"`
	Holders     []int    `json:"holders" doc:"OSDs by shard; -1: nobody has it"`
	References  int      `json:"references" doc:"To it"`
	More        bool     `json:"more_references" doc:"There are more than these"`
	Condemned   string   `json:"condemned,omitempty" doc:"Since when nobody refers to it"`
	Lost        string   `json:"lost,omitempty" doc:"Why nobody else may refer to it: shards (too few are left) or bytes (they are others)"`
	Tenant      *string  `json:"tenant,omitempty" doc:"Whose dedup domain it is in, empty: the whole cluster's; missing: not shared, or not known"`
	Refs        []Ref    `json:"refs,omitempty" doc:"The references, when one chunk is shown"`
	Leaving     []int    `json:"leaving,omitempty" doc:"OSDs that drop shards of it now"`
	Shards      []Shard  `json:"shards,omitempty" doc:"How its shards are, when one chunk is shown or verified"`
	Verdict     *Verdict `json:"verdict,omitempty" doc:"When one chunk is verified"`
}

// Ref is a reference to a chunk.
type Ref struct {
	Nonce  string `json:"nonce"`
	Pool   int    `json:"pool" doc:"Of the object"`
	Object string `json:"object"`
	Since  string `json:"since"`
}

// Shard is how a shard of a chunk is.
type Shard struct {
	Shard int    `json:"shard"`
	OSD   int    `json:"osd" doc:"-1: nobody has it"`
	State string `json:"state" doc:"good, away (its OSD is down), misplaced, lost, wrong (it is not of this chunk)"`
	Text  string `json:"text,omitempty" doc:"What its OSD says"`
}

// Verdict is what came of reading all shards of a chunk.
type Verdict struct {
	OK          bool   `json:"ok" doc:"Nothing is wrong; what cannot be verified is not wrong"`
	Readable    int    `json:"readable" doc:"Shards that could be read; each block's checksum is right"`
	Needed      int    `json:"needed" doc:"Shards that the bytes can be made of"`
	Together    bool   `json:"together" doc:"They belong together: any of them give the same bytes"`
	Parity      bool   `json:"parity" doc:"The bytes were made once more, of as many parity shards or copies as there are, and are the same"`
	Fingerprint string `json:"fingerprint" doc:"right, wrong, unverifiable (an older version stored the chunk) or unknown (too few shards)"`
	Text        string `json:"text,omitempty" doc:"What is wrong"`
}

// Chunks is a page of the index.
type Chunks struct {
	Chunks []Chunk `json:"chunks"`
	After  string  `json:"after,omitempty" doc:"Where the next page begins; missing: there is none"`
}
