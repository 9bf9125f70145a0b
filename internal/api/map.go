package api

// Map is the cluster map for people and tools.
type Map struct {
	Epoch    uint64     `json:"epoch"`
	FSID     string     `json:"fsid"`
	Created  string     `json:"created" doc:"RFC 3339"`
	Modified string     `json:"modified" doc:"RFC 3339"`
	Flags    []string   `json:"flags"`
	Mons     []MonState `json:"mons"`
	OSDs     []OSDInfo  `json:"osds"`
	Pools    []Pool     `json:"pools"`
	Services []Service  `json:"services"`
	PGs      []MapPG    `json:"pgs,omitempty" doc:"Only when asked for"`
	Crush    string     `json:"crush" doc:"The CRUSH map in its text language"`
}

// MapPG is a PG's record in the map.
type MapPG struct {
	PGID    string `json:"pgid"`
	Term    uint32 `json:"term"`
	Version uint64 `json:"version"`
	Primary int    `json:"primary" doc:"-1 if there is none"`
	InSync  []int  `json:"in_sync"`
	Created bool   `json:"created"`
}

// Location is where an object lives. Nobody was asked: it follows from the map.
type Location struct {
	Epoch         uint64 `json:"epoch"`
	Pool          string `json:"pool"`
	PoolID        uint32 `json:"pool_id"`
	Object        string `json:"object"`
	Hash          string `json:"hash" doc:"HighwayHash-64 of the name, hexadecimal"`
	PGID          string `json:"pgid"`
	Row           []int  `json:"row" doc:"The FlexHash group: members that may hold chunks"`
	Target        []int  `json:"target" doc:"What CRUSH chose"`
	Up            []int  `json:"up" doc:"Target OSDs that are up"`
	UpPrimary     int    `json:"up_primary"`
	Acting        []int  `json:"acting" doc:"The in-sync set, primary first"`
	ActingPrimary int    `json:"acting_primary"`
}
