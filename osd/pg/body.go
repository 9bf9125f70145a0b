package pg

import (
	"fmt"

	"github.com/cairnstore/cairn/internal/wire/wirepb"
)

// setBody puts a oneof wrapper into m. The generated interface of the oneof is
// not exported, so the types that this package sends are listed here.
func setBody(m *wirepb.PGMsg, body any) {
	switch b := body.(type) {
	case *wirepb.PGMsg_Query:
		m.Body = b
	case *wirepb.PGMsg_Info:
		m.Body = b
	case *wirepb.PGMsg_Activate:
		m.Body = b
	case *wirepb.PGMsg_Activated:
		m.Body = b
	case *wirepb.PGMsg_Replicate:
		m.Body = b
	case *wirepb.PGMsg_Acked:
		m.Body = b
	case *wirepb.PGMsg_Push:
		m.Body = b
	case *wirepb.PGMsg_Pushed:
		m.Body = b
	case *wirepb.PGMsg_Learn:
		m.Body = b
	case *wirepb.PGMsg_Learned:
		m.Body = b
	case *wirepb.PGMsg_Forget:
		m.Body = b
	case *wirepb.PGMsg_Complete:
		m.Body = b
	case *wirepb.PGMsg_Completed:
		m.Body = b
	case *wirepb.PGMsg_Scan:
		m.Body = b
	case *wirepb.PGMsg_Scanned:
		m.Body = b
	case *wirepb.PGMsg_Reject:
		m.Body = b
	case *wirepb.PGMsg_Fetch:
		m.Body = b
	case *wirepb.PGMsg_Fetched:
		m.Body = b
	case *wirepb.PGMsg_Scrub:
		m.Body = b
	case *wirepb.PGMsg_ScrubPage:
		m.Body = b
	case *wirepb.PGMsg_ScrubNote:
		m.Body = b
	case *wirepb.PGMsg_ScrubNoted:
		m.Body = b
	default:
		panic(fmt.Sprintf("pg: %T is no message body", body))
	}
}
