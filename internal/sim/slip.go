package sim

// Slip breaks one rule that the driver of osd/pg has to keep, as pg.Mutant does for the protocol itself.
type Slip uint8

// The slips.
const (
	NoSlip         Slip = iota
	Impatient           // an OSD leads at once after a restart, though it has forgotten its grants (R6)
	LeasesHearLate      // the leases hear of a map after the groups
	DeliverEarly        // messages do not wait for their sender's map (R5)
	BlindCare           // who works outboxes off does not look whether the object has the reference
	IgnoreVoid          // a SET_REF does not look for void records
	AckShardEarly       // an OSD answers before a shard is durable
	EnterEarly          // a client makes a chunk's entry before its shards are durable
	DropFirst           // a client drops references before what replaces them is durable
)

var slipNames = [...]string{
	NoSlip:         "none",
	Impatient:      "impatient after a restart",
	LeasesHearLate: "leases hear late of a map",
	DeliverEarly:   "deliver before the map",
	BlindCare:      "work outboxes off blindly",
	IgnoreVoid:     "ignore void records",
	AckShardEarly:  "ack a shard early",
	EnterEarly:     "enter a chunk early",
	DropFirst:      "drop references first",
}

func (s Slip) String() string { return slipNames[s] }
